// Fetch the status once, and again on each click of the button. Text from the answer is inserted as
// text, never as markup.

const at = (id) => document.getElementById(id);

const STATES = {
  "up-to-date": ["good", () => "Up to date: every migration of this deployment is applied."],
  pending: [
    "wait",
    (n) => `Pending: ${n} ${n === 1 ? "migration waits" : "migrations wait"} to be applied.`,
  ],
  ahead: ["good", () => "Ahead: the database has migrations that this deployment does not have."],
  modified: [
    "bad",
    () => "Modified: a migration was changed or renamed after it had been applied.",
  ],
  uninitialised: [
    "wait",
    () => "Not initialized: nothing is applied, and there is nothing to apply.",
  ],
};
const TONES = { applied: "good", pending: "wait", modified: "bad", missing: "wait" };

function element(name, text, tone) {
  const made = document.createElement(name);
  made.textContent = text ?? "–";
  if (tone) made.dataset.tone = tone;
  return made;
}

function say(text, tone) {
  const state = at("state");
  state.textContent = text;
  if (tone) state.dataset.tone = tone;
  else delete state.dataset.tone;
}

const moment = (iso) => iso?.replace("T", " ").replace(/\.\d+Z$/, "");
const inUtc = (iso) => iso && `${moment(iso)} UTC`;

function list(id, pairs) {
  const entries = pairs.flatMap(([term, text]) => [element("dt", term), element("dd", text)]);
  at(id).replaceChildren(...entries);
}

function row(migration) {
  const version = element("th", migration.version);
  version.scope = "row";
  const { commit, ref } = migration.appliedBy ?? {};
  const by = [commit?.slice(0, 7), ref && `(${ref})`].filter(Boolean).join(" ") || null;
  const made = document.createElement("tr");
  made.append(
    version,
    element("td", migration.name),
    element("td", migration.state, TONES[migration.state]),
    element("td", moment(migration.appliedAt)),
    element("td", migration.executionTimeMs),
    element("td", by),
  );
  return made;
}

function show(status) {
  const { migrations, lastRun: run, deployment } = status;
  const total = status.migrationsTotal ?? migrations.length;
  const [tone, words] = STATES[status.state] ?? ["wait", () => status.state];
  list("facts", [
    ["Environment", status.environment],
    ["Database belongs to", status.belongsTo ?? "no environment yet"],
    ["Database", status.database],
    ["Server", status.pgVersion],
    ["Applied", status.appliedMigrations],
    ["Pending", status.pendingMigrations],
  ]);
  at("rows").replaceChildren(...migrations.map(row));
  at("empty").hidden = migrations.length > 0;
  at("cut").textContent = `The newest ${migrations.length} of ${total} are shown.`;
  at("cut").hidden = migrations.length === total;
  at("list").hidden = migrations.length === 0;
  list("run", run ? [
    ["Outcome", run.outcome],
    ["Started by", run.source],
    ["Started", inUtc(run.startedAt)],
    ["Ended", inUtc(run.finishedAt)],
    ["Commit", run.commit],
  ] : [["Outcome", "No run is on record."]]);
  list("deployment", [["Commit", deployment.commit], ["Ref", deployment.ref]]);
  at("details").hidden = false;
  say(words(status.pendingMigrations), tone);
}

function fail(text) {
  at("details").hidden = true;
  say(text, "bad");
}

async function ask() {
  let answer;
  try {
    const signal = AbortSignal.timeout(30000);
    answer = await fetch("/api/migration-status", { cache: "no-cache", signal });
  } catch {
    return fail("No answer: the endpoint could not be reached. Check the network and refresh.");
  }
  const status = await answer.json().catch(() => null);
  if (status?.success) return show(status);
  const reason = status?.error ?? "the answer is not the expected JSON.";
  fail(`Not available (HTTP ${answer.status}): ${reason}`);
}

let asking = false;

async function load() {
  if (asking) return;
  asking = true;
  say("Loading…");
  await ask().finally(() => { asking = false; });
}

at("refresh").addEventListener("click", load);
load();
