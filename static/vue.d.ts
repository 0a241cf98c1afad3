// `<qrcast-link>` for the templates of Vue 3.5: its attributes, and `@qrcast-event` and the like.
// Types alone: `import type {} from "qrcast/vue";` once anywhere in the project.

import type { HTMLAttributes } from "vue";
import type { QrcastLink, QrcastLinkAttributes, QrcastLinkEventMap } from "./qrcast.js";

// As a component's props are named: `onQrcastEvent` is what `@qrcast-event` becomes.
interface Listeners {
  onQrcastEvent?: (event: QrcastLinkEventMap["qrcast-event"]) => void;
  onQrcastState?: (event: QrcastLinkEventMap["qrcast-state"]) => void;
  onQrcastToken?: (event: QrcastLinkEventMap["qrcast-token"]) => void;
  onQrcastView?: (event: QrcastLinkEventMap["qrcast-view"]) => void;
}

declare module "vue" {
  interface GlobalComponents {
    "qrcast-link": new () => QrcastLink & {
      /** Read by the checker of templates alone. */
      $props: HTMLAttributes & QrcastLinkAttributes & Listeners;
    };
  }
}
