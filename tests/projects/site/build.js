const fs = require("node:fs");
const escape = require("escape-html");
const greeting = require("./lib/greeting.js");

fs.mkdirSync("dist", { recursive: true });
const page = fs.readFileSync("src/page.html", "utf8");
fs.writeFileSync("dist/index.html", page.replace("{greeting}", escape(greeting)));
