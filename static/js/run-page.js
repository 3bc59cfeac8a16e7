// A run's page: one socket feeds the head, the processes, the log and the charts.
import { percentWords } from "./chart-data.js";
import { sizeText } from "./sizes.js";
import { MetricCharts, UsageCharts } from "./charts.js";
import { LiveSocket } from "./live-socket.js";
import { followLogs } from "./log-follow.js";
import { setServerTime } from "./times.js";

const HEAD_PAUSE_MS = 250;
const WORDS = {
  cpus: (value) => value.toFixed(2),
  memory_bytes: sizeText,
  gpu: percentWords,
};

const page = document.querySelector("[data-run]");
const usage = new Map(); // process -> the last sample, put back when the head is drawn anew
let headTimer = 0;

// Draw the head anew if what it shows is not what the message knows.
function refreshHead(element, known) {
  if (element?.dataset.known === known) return;
  headTimer ||= setTimeout(() => {
    headTimer = 0;
    htmx.trigger("#run-head", "trainyard:refresh");
  }, HEAD_PAUSE_MS);
}

function rowOf(process) {
  return document.querySelector(`[data-process="${CSS.escape(process)}"]`);
}

function showUsage() {
  for (const [process, sample] of usage) {
    // The last sample of a process that has ended says nothing about now.
    const row = rowOf(process);
    if (!row?.dataset.known.startsWith("running")) continue;
    for (const [field, words] of Object.entries(WORDS)) {
      const cell = row.querySelector(`[data-usage="${field}"]`);
      const value = sample[field];
      if (cell && value !== null && value !== undefined) cell.textContent = words(value);
    }
  }
}

function receive(message, charts) {
  switch (message.type) {
    case "run.status":
      setServerTime(message.at);
      refreshHead(document.getElementById("run-head"), `${message.seq}:${message.wait_reason}`);
      charts?.changed();
      break;
    case "process.status":
      refreshHead(rowOf(message.process), `${message.state}:${message.exit_code ?? ""}`);
      break;
    case "usage":
      usage.set(message.process, message);
      showUsage();
      if (charts instanceof UsageCharts) charts.changed();
      break;
    case "metrics":
      if (charts instanceof MetricCharts) charts.changed(message.names);
      break;
  }
}

function start() {
  const log = page.querySelector("[data-log]");
  if (log) {
    followLogs(log, (message) => receive(message));
    return;
  }
  const element = page.querySelector("[data-charts]");
  const Kind = element?.dataset.chartsSource === "usage" ? UsageCharts : MetricCharts;
  const charts = element ? new Kind(element, page.dataset.api) : null;
  charts?.load().catch(() => charts.changed());
  const socket = new LiveSocket(page.dataset.stream);
  socket.addEventListener("message", ({ detail }) => receive(detail, charts));
  socket.connect();
}

document.body.addEventListener("htmx:afterSwap", (event) => {
  if (event.detail.target.id === "run-head") showUsage();
});
// What changed while the page was hidden was not asked for.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) htmx.trigger("#run-head", "trainyard:refresh");
});
start();
