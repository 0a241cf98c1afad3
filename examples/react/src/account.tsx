// One account on its way: the element until it is linked, then its name. Shown by main.tsx.

import { useState } from "react";
import type { Me } from "qrcast";
import "qrcast";
// `<qrcast-link>` in JSX.
import type {} from "qrcast/react";
import { useStatus } from "./use-status";

export interface AccountProps {
  server: string;
  session: string;
  token?: string;
}

export function Account({ server, session, token }: AccountProps) {
  const [me, setMe] = useState<Me>();
  const status = useStatus({ server, session, token });
  return (
    <main>
      <h1>{me ? `Hello ${me.pushName ?? "there"}` : "Link your WhatsApp"}</h1>
      <p>Status: <output>{status ?? "connecting"}</output></p>
      <qrcast-link
        base-url={server}
        session={session}
        token={token}
        onqrcast-event={({ detail }) => {
          if (detail.event === "ready") setMe(detail.data.me);
        }}
      />
    </main>
  );
}
