// Joins a log view with the socket that feeds it.
import { LiveSocket } from "./live-socket.js";
import { LogView } from "./log-view.js";

const OVER = new Set(["Completed", "Failed", "Canceled"]);
const STATES = {
  connecting: "Connecting…",
  open: "Live",
  waiting: "Connection lost, trying again…",
  refused: "Not connected. Reload the page to continue.",
};

// Gives the view and its socket; `onMessage` gets what is not a log.
export function followLogs(element, onMessage = () => {}) {
  const view = new LogView(element);
  const socket = new LiveSocket(element.dataset.logStream, () => view.offsets());
  const light = element.querySelector("[data-log-live]");
  const tell = (state, words = STATES[state]) => {
    light.textContent = words;
    light.dataset.logLive = state;
  };
  socket.addEventListener("state", ({ detail }) => tell(detail));
  socket.addEventListener("message", ({ detail }) => {
    if (detail.type === "log") view.receive(detail);
    else if (detail.type === "build") view.receive({ ...detail, process: "build" });
    else {
      if (detail.type === "process.status") view.addSource(detail.process);
      onMessage(detail);
    }
    if (OVER.has(detail.status)) tell("over", "Complete");
  });
  view.addEventListener("opened", () => socket.connect());
  view.openHash(element.dataset.logSelected);
  return { view, socket };
}
