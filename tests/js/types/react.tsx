// What JSX of React knows of `<qrcast-link>`. Type-checked by tests/it/package.rs, never run.

import { useRef } from "react";
import type { QrcastLink } from "qrcast";
import type {} from "qrcast/react";

export function All() {
  const link = useRef<QrcastLink>(null);
  return (
    <qrcast-link
      ref={link}
      key="one"
      className="link"
      session="session"
      token={async () => "token"}
      base-url="https://qrcast.example.com"
      theme="dark"
      words={{ scanTitle: "Scannen" }}
      onqrcast-event={({ detail }) => detail.event === "ready" && detail.data.me.id}
      onqrcast-state={({ detail }) => detail.phase === "waiting" && detail.retryInMs.toFixed()}
      onqrcast-view={({ detail }) => link.current?.view === detail.view}
    />
  );
}

// @ts-expect-error: no such theme
export const theme = <qrcast-link theme="pink" />;
// @ts-expect-error: a session is a text
export const session = <qrcast-link session={7} />;
// @ts-expect-error: its detail has no such field
export const event = <qrcast-link onqrcast-event={({ detail }) => detail.nothing} />;
