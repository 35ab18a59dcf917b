import { greeting } from "../../lib/greeting.js";

export function GET() {
  return Response.json({ greeting });
}
