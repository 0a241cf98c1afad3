// What a QR's picture costs with Node's `qrcode`: prints the milliseconds of processor time for each of COUNT pictures.

import { randomBytes } from "node:crypto";
import QRCode from "qrcode";

const count = Number(process.argv[2] ?? 200);
const string = () => `2@${[48, 32, 32, 32].map((length) => randomBytes(length).toString("base64")).join(",")},1`;
for (let number = 0; number < 20; number++) await QRCode.toDataURL(string());
const before = process.cpuUsage();
for (let number = 0; number < count; number++) await QRCode.toDataURL(string());
const { user, system } = process.cpuUsage(before);
console.log(((user + system) / 1000 / count).toFixed(3));
