// The languages without a browser: which words there are, which language is chosen, and how sentences are filled. Run with
// `node --test tests/js/words.test.mjs`.

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { test } from "node:test";
import { choose, clock, english, fill, inTime, load, spoken } from "../../static/qrcast/words.js";

const FOLDER = new URL("../../static/words/", import.meta.url);
const LANGUAGES = readdirSync(FOLDER).map((name) => name.replace(".js", ""));
const table = async (lang) => (await import(new URL(`${lang}.js`, FOLDER))).default;
/** What must be the same in every language: what is filled in, and how much is bold. */
const marks = (sentence) => [...sentence.matchAll(/\{\w+\}/g)].map(String).sort().join() + sentence.split("**").length;

test("there are nine languages, and none lacks a word", async () => {
  assert.deepEqual(LANGUAGES.sort(), ["ar", "de", "en", "es", "fr", "hi", "id", "pt", "tr"]);
  for (const lang of LANGUAGES) {
    const words = await table(lang);
    const lacks = Object.keys(english).filter((name) => !words[name]);
    const unknown = Object.keys(words).filter((name) => !(name in english));
    assert.deepEqual({ lang, lacks, unknown }, { lang, lacks: [], unknown: [] });
  }
});

test("the same is filled in and bold in every language, and nothing was left in English", async () => {
  for (const lang of LANGUAGES.filter((lang) => lang !== "en")) {
    for (const [name, sentence] of Object.entries(await table(lang))) {
      assert.equal(marks(sentence), marks(english[name]), `${lang} ${name}: ${sentence}`);
      assert.equal(sentence.split("**").length % 2, 1, `${lang} ${name}: bold does not end`);
      assert.notEqual(sentence, english[name], `${lang} ${name}`);
    }
  }
});

test("a word that a language lacks is said in English", () => {
  const { words } = spoken("tr", { scanTitle: "Tarayın" });
  assert.equal(words.scanTitle, "Tarayın");
  assert.equal(words.phoneTitle, english.phoneTitle);
});

test("the code uses no word that there is not", () => {
  for (const file of ["index.html", "live.js", "qrcast/views.js", "qrcast/ends.js", "qrcast/parts.js", "qrcast/passkey-views.js", "qrcast/link.js"]) {
    const code = readFileSync(new URL(`../../static/${file}`, import.meta.url), "utf8");
    for (const [, name] of code.matchAll(/(?:\bwords\.|data-word=")(\w+)/g)) {
      // The property `words` of the element, and what a path is made of.
      if (name !== "js") assert.ok(name in english, `${file}: ${name}`);
    }
  }
});

test("the first language that there is is chosen, whatever its country", async () => {
  assert.equal(choose(undefined, "ja", "pt-BR", "tr"), "pt");
  assert.equal(choose("TR_tr"), "tr");
  assert.equal(choose("en-GB", "tr"), "en");
  assert.equal(choose("constructor", "", null), "en");
  assert.deepEqual([(await load("ar")).dir, (await load("tr")).dir, (await load("en")).lang], ["rtl", "ltr", "en"]);
});

test("what is filled into a sentence from right to left is set off from it", async () => {
  assert.equal(fill("For {number}", { number: "+90 555" }), "For +90 555");
  assert.equal(fill("للرقم {number}", { number: "+90 555" }), "للرقم \u2068+90 555\u2069");
  assert.equal(fill("{a}{b}", { a: 1 }), "1");
});

test("a pause is said as each language says it", () => {
  assert.equal(inTime(1_000, "en"), "in 1 second");
  assert.equal(inTime(29_500, "en"), "in 30 seconds");
  assert.equal(inTime(900_000, "tr"), "15 dakika sonra");
  assert.equal(inTime(180_000, "ar"), "خلال 3 دقائق");
  assert.equal(clock(7_000), "0:07");
});
