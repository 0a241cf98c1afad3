// What a library for pages alone looks for in Node. For tests/it/clients.rs: node --import window.mjs RECIPE.mjs …

globalThis.window ??= globalThis;
globalThis.document ??= { hidden: false, addEventListener() {}, removeEventListener() {} };
