// The page: what your backend's answer to `init-session` would bring stands in the address here,
// http://localhost:5173/?server=http://localhost:3000&session=SESSION_ID#token=STREAM_TOKEN
// The server must allow this page: ALLOWED_ORIGINS=http://localhost:5173

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { Account } from "./account";

const query = new URLSearchParams(location.search);
const token = new URLSearchParams(location.hash.slice(1)).get("token");

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <Account
      server={query.get("server") ?? "http://localhost:3000"}
      session={query.get("session") ?? ""}
      token={token ?? undefined}
    />
  </StrictMode>,
);
