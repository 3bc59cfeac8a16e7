// Wires a log view to its websocket, on pages that have one and no more: services, environments.
import { followLogs } from "./log-follow.js";

for (const element of document.querySelectorAll("[data-log]")) followLogs(element);
