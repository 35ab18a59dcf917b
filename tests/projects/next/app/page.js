import { greeting } from "../lib/greeting.js";

export default function Page() {
  return <p>{greeting}</p>;
}
