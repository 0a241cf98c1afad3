// `<qrcast-link>` for JSX of React 19, which sets properties where the element has them, and listens to `onqrcast-event` and the like.
// Types alone: `import type {} from "qrcast/react";` once anywhere in the project.

import type { DetailedHTMLProps, HTMLAttributes } from "react";
import type { QrcastLink, QrcastLinkAttributes, QrcastLinkEventMap } from "./qrcast.js";

type Listeners = {
  [Name in keyof QrcastLinkEventMap as `on${Name}`]?: (event: QrcastLinkEventMap[Name]) => void;
};

declare module "react" {
  namespace JSX {
    interface IntrinsicElements {
      "qrcast-link": DetailedHTMLProps<HTMLAttributes<QrcastLink>, QrcastLink> & QrcastLinkAttributes & Listeners;
    }
  }
}
