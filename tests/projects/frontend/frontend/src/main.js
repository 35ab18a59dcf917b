import { greeting } from "../../lib/greeting.ts";

document.querySelector("#greeting").textContent = greeting;
