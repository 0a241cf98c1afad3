// The texts of `<qrcast-link>` and of the live page: which languages there are, which of them fits, and which text fits a
// state. The texts themselves are in ../words, one file a language. Knows no DOM.

import english from "../words/en.js";

export { english };

/** Each is loaded alone, when it is chosen. Written out one by one, because bundlers look for imports like these. */
const OTHERS = {
  ar: () => import("../words/ar.js"),
  de: () => import("../words/de.js"),
  es: () => import("../words/es.js"),
  fr: () => import("../words/fr.js"),
  hi: () => import("../words/hi.js"),
  id: () => import("../words/id.js"),
  pt: () => import("../words/pt.js"),
  tr: () => import("../words/tr.js"),
};

/** How a language is spoken: its texts, what is missing of them in English, and the direction of its script. */
export const spoken = (lang, words) => ({ lang, dir: lang === "ar" ? "rtl" : "ltr", words: { ...english, ...words } });

export const ENGLISH = spoken("en");

/** The first of these that there is; `pt-BR` is `pt`. */
export function choose(...wishes) {
  const languages = wishes.map((wish) => String(wish ?? "").toLowerCase().split(/[-_]/)[0]);
  return languages.find((lang) => lang === "en" || Object.hasOwn(OTHERS, lang)) ?? "en";
}

/** A language of `choose`; English if it cannot be fetched. */
export async function load(lang) {
  try {
    return lang === "en" ? ENGLISH : spoken(lang, (await OTHERS[lang]()).default);
  } catch {
    return ENGLISH;
  }
}

/** For `Intl`. The digits are those of the codes and numbers that a person types. */
export function locale(lang) {
  return `${lang}-u-nu-latn`;
}

/** Letters of a script that is written from right to left. */
const RIGHT_TO_LEFT = /[\u0590-\u08ff]/;

/** Fills the `{names}` of a sentence; unknown ones stay empty. */
export function fill(sentence, values = {}) {
  // In such a script a phone number would be torn apart, unless it is set off from the rest.
  const [before, after] = RIGHT_TO_LEFT.test(sentence) ? ["\u2068", "\u2069"] : ["", ""];
  return sentence.replace(/\{(\w+)\}/g, (_, name) => `${before}${values[name] ?? ""}${after}`);
}

/** The sentence for a refused pairing or call. Codes of calls are upper case, those of events lower case. */
export function whyRefused(words, code) {
  const sentence = words[`error_${String(code).toLowerCase()}`];
  return sentence ?? fill(words.error_other, { code });
}

/** A pause in words, such as `in 5 seconds`. */
export function inTime(ms, lang) {
  const seconds = Math.ceil(ms / 1000);
  const [count, unit] = seconds > 90 ? [Math.ceil(seconds / 60), "minute"] : [seconds, "second"];
  return new Intl.RelativeTimeFormat(locale(lang)).format(count, unit);
}

/** A time as the reader writes it. */
export function moment(time, lang) {
  return new Date(time).toLocaleString(locale(lang), { dateStyle: "long", timeStyle: "short" });
}

/** Seconds as `0:07` or `12:34`. */
export function clock(ms) {
  const seconds = Math.max(0, Math.ceil(ms / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** Country codes of one and two digits; all others have three. */
const SHORT_CODES = /^(1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58])/;

/** A JID or digits as a person writes a number: `+90 555 123 45 67`. */
export function phoneNumber(text) {
  const digits = String(text ?? "").split(/[:@]/)[0].replace(/\D/g, "");
  if (digits.length < 7) return digits && `+${digits}`;
  const country = SHORT_CODES.exec(digits)?.[0] ?? digits.slice(0, 3);
  const rest = digits.slice(country.length);
  // Groups of three, without a single digit at the end: 10 digits as 3 3 2 2, or 3 3 4 for country code 1.
  const alone = rest.length % 3 === 1 && rest.length > 4;
  const threes = (alone ? rest.slice(0, -4) : rest).match(/.{1,3}/g) ?? [];
  const tail = alone ? (country === "1" ? [rest.slice(-4)] : [rest.slice(-4, -2), rest.slice(-2)]) : [];
  return [`+${country}`, ...threes, ...tail].join(" ");
}
