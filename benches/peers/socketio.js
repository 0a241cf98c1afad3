// socket.io as it comes: a room for each session, WebSocket as the transport.

import { createServer } from "node:http";
import { Server } from "socket.io";
import { play } from "./script.js";

const server = createServer();
const io = new Server(server);
io.on("connection", (socket) => socket.join(socket.handshake.query.session));
play(server, (session, event) => io.to(session).emit("event", event));
