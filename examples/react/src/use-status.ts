// Where a session stands, without the element: a hook on `subscribe`. Used by account.tsx.

import { useEffect, useState } from "react";
import { type Status, subscribe } from "qrcast";
import type { AccountProps } from "./account";

export function useStatus({ server, session, token }: AccountProps): Status | undefined {
  const [status, setStatus] = useState<Status>();
  useEffect(() => {
    const following = subscribe(session, {
      baseUrl: server,
      token,
      onState: (state) => state.phase === "open" && setStatus(state.status.status),
      onEvent: ({ event, data }) => {
        if (event === "qr" || event === "code") setStatus("scan_qr");
        if (event === "authenticated") setStatus("authenticated");
        if (event === "ready") setStatus("connected");
        if (event === "disconnected") setStatus(data.willReconnect ? "reconnecting" : "disconnected");
      },
    });
    return () => following.close();
  }, [server, session, token]);
  return status;
}
