// Reads a description with AsyncAPI's own parser; what it finds wrong is printed, and the exit code says whether there is any.
import { readFileSync } from 'node:fs';
import { Parser } from '@asyncapi/parser';

const { document, diagnostics } = await new Parser().parse(readFileSync(process.argv[2], 'utf8'));
// 0 and 1 are errors and warnings. The others are advice, such as to use the newest version.
const wrong = diagnostics.filter(({ severity }) => severity < 2);
for (const { path, message } of wrong) console.log(`${path.join('.')}: ${message}`);
console.log(`${document?.allChannels().all().length} channels, ${document?.allMessages().all().length} messages`);
process.exitCode = document && wrong.length === 0 ? 0 : 1;
