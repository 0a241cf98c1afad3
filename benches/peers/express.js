// The old service's stack: express, ws and qrcode, with its four REST calls. The picture is drawn when the QR comes, and
// kept in memory: what a poll costs is the answer alone.

import { createServer } from "node:http";
import express from "express";
import QRCode from "qrcode";
import { WebSocketServer } from "ws";
import { play, sessions } from "./script.js";

const QR = `2@${"A".repeat(64)},${"B".repeat(44)},${"C".repeat(44)},${"D".repeat(44)},1`;
const LIFE = 60_000;

const qrDataUrl = await QRCode.toDataURL(QR);
const known = new Map();
for (const session of sessions) begin(session);

function begin(session) {
  known.set(session, { status: "scan_qr", userId: session, qrString: QR, qrDataUrl, expiresAt: Date.now() + 86_400_000, viewers: new Set() });
}

const app = express();
app.use(express.json());
app.post("/api/init-session", (request, response) => {
  const session = `session_${request.body.userId}_${Date.now()}`;
  begin(session);
  response.json({ sessionId: session, status: "initializing", message: "WhatsApp session başlatılıyor...", estimatedTime: "30-60 saniye" });
});
app.get("/api/qr-code/:id", (request, response) => {
  const session = known.get(request.params.id);
  if (!session) return response.status(404).json({ error: "Session not found", code: "SESSION_NOT_FOUND" });
  const timeRemaining = Math.min(LIFE, session.expiresAt - Date.now());
  response.json({
    sessionId: request.params.id,
    qrString: session.qrString,
    qrDataUrl: session.qrDataUrl,
    expiresAt: new Date(session.expiresAt).toISOString(),
    timeRemaining,
    isValid: timeRemaining > 0,
  });
});
app.get("/api/session-status/:id", (request, response) => {
  const session = known.get(request.params.id);
  if (!session) return response.status(404).json({ error: "Session not found", code: "SESSION_NOT_FOUND" });
  response.json({
    sessionId: request.params.id,
    status: session.status,
    userId: session.userId,
    connectedAt: null,
    hasQrCode: true,
    clientActive: true,
    uptime: null,
  });
});
app.get("/health", (_, response) => {
  response.json({ status: "healthy", uptime: process.uptime(), sessions: { active: known.size, qr_codes: known.size }, memory: process.memoryUsage() });
});

const server = createServer(app);
const sockets = new WebSocketServer({ server, perMessageDeflate: false });
sockets.on("connection", (socket, request) => {
  const { viewers } = known.get(request.url.slice(1));
  viewers.add(socket);
  socket.on("close", () => viewers.delete(socket));
});
play(server, (session, event) => {
  const text = JSON.stringify(event);
  for (const socket of known.get(session).viewers) socket.send(text);
});
