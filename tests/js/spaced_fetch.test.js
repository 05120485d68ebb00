/** Fetches that many pages want in the same moment. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { SpacedFetch } from "../../static/js/spaced_fetch.js";
import { FakeClock, settle } from "./clock.js";

const APART = 2_000;
const PER_WATCHER = 10;

/** A fetch in a world of its own: `answers` resolves what is under way. */
function world({ random = () => 0.5, apart = APART } = {}) {
  const clock = new FakeClock();
  const state = {
    clock,
    /** @type {number[]} when it fetched */
    fetched: [],
    /** @type {((isDone: boolean) => void)[]} */
    answers: [],
    askedAgain: 0,
    spaced: /** @type {SpacedFetch} */ (/** @type {unknown} */ (undefined)),
  };
  state.spaced = new SpacedFetch({
    fetch: () => {
      state.fetched.push(clock.now());
      return new Promise((resolve) => state.answers.push(resolve));
    },
    onAskedAgain: () => {
      state.askedAgain += 1;
      state.spaced.request();
    },
    perWatcher: PER_WATCHER,
    apart,
    clock,
    random,
  });
  return state;
}

test("each page takes a moment of its own within the time that the server takes for all", async () => {
  const { clock, fetched, spaced } = world();
  spaced.watchers = 500;
  spaced.request();
  await clock.pass(2_499);
  assert.equal(fetched.length, 0);
  await clock.pass(1);
  assert.equal(fetched.length, 1);
});

test("what is asked for while it waits is fetched once", async () => {
  const { answers, askedAgain, clock, fetched, spaced } = world();
  spaced.watchers = 100;
  spaced.request();
  spaced.request();
  await clock.pass(1_000);
  answers[0]?.(true);
  await clock.pass(60_000);
  assert.equal(fetched.length, 1);
  assert.equal(askedAgain, 0);
});

test("what is asked for while it is fetched may be older than the question, so it is fetched again, but not at once", async () => {
  const state = world();
  state.spaced.request();
  await state.clock.pass(10);
  state.spaced.request();
  state.answers[0]?.(true);
  await settle();
  assert.equal(state.askedAgain, 1);
  await state.clock.pass(APART);
  assert.deepEqual(state.fetched, [0, 10 + APART]);
});

test("after failures it waits ever longer, and one that was had ends that", async () => {
  const { answers, clock, fetched, spaced } = world({ apart: 0 });
  for (let attempt = 0; attempt < 7; attempt += 1) {
    spaced.request();
    await clock.pass(60_000 - (clock.now() % 60_000)); // each within its own minute
    answers.at(-1)?.(false);
    await settle();
  }
  const waits = fetched.map((at) => at % 60_000);
  assert.deepEqual(waits, [0, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
  spaced.request();
  await clock.pass(30_000);
  answers.at(-1)?.(true);
  await settle();
  const before = fetched.length;
  spaced.request();
  await clock.pass(0);
  assert.equal(fetched.length, before + 1);
});

test("one that is cancelled is not fetched, and its late answer changes nothing", async () => {
  const state = world();
  state.spaced.request();
  state.spaced.cancel();
  await state.clock.pass(1_000);
  assert.equal(state.fetched.length, 0);
  state.spaced.request();
  await state.clock.pass(0);
  state.spaced.request();
  state.spaced.cancel();
  state.answers[0]?.(true);
  await settle();
  assert.equal(state.askedAgain, 0);
  state.spaced.request();
  await state.clock.pass(0);
  assert.equal(state.fetched.length, 2);
});
