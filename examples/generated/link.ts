// Links an account with a client that was generated from the API's description, and unlinks it again:
//
//   curl -sO http://localhost:3000/openapi.json
//   npm ci && npm run generate && npm run build
//   node built/link.js http://localhost:3000 [API_KEY]
import { createClient } from './client/client/index.js';
import { deleteSession, followSession, getQrCode, getSessionStatus, initSession } from './client/index.js';

const [baseUrl = 'http://localhost:3000', key] = process.argv.slice(2);
const client = createClient({ baseUrl, auth: key });

const { data: session } = await initSession({ client, body: { userId: 'ada' }, throwOnError: true });
const path = { id: session.sessionId };
const { stream } = await followSession({
  client,
  path,
  onSseEvent: async ({ event }) => {
    if (event === 'qr') {
      const { data: qr } = await getQrCode({ client, path, throwOnError: true });
      console.log(`qr ${qr.qrString}`);
    } else if (event === 'ready') {
      const { data: status } = await getSessionStatus({ client, path, throwOnError: true });
      console.log(`linked ${status.me?.id}`);
      await deleteSession({ client, path, throwOnError: true });
    } else {
      console.log(event);
    }
  },
});
// It ends with the session.
for await (const _ of stream);
