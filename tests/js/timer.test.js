/** Timers, and the waits between attempts. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { doubled, roughly, Timer } from "../../static/js/timer.js";
import { FakeClock } from "./clock.js";

test("a timer that is started again runs once, at the later time", async () => {
  const clock = new FakeClock();
  /** @type {number[]} */
  const runs = [];
  const timer = new Timer(clock, () => void runs.push(clock.now()));
  timer.start(10);
  await clock.pass(5);
  timer.start(10);
  assert(timer.isPending);
  await clock.pass(100);
  assert.deepEqual(runs, [15]);
  assert(!timer.isPending);
});

test("a timer that is stopped does not run", async () => {
  const clock = new FakeClock();
  const timer = new Timer(clock, () => assert(false));
  timer.start(10);
  timer.stop();
  assert.equal(clock.pending, 0);
  await clock.pass(100);
});

test("a task may start its own timer again", async () => {
  const clock = new FakeClock();
  let runs = 0;
  const timer = new Timer(clock, () => {
    runs += 1;
    timer.start(10);
  });
  timer.start(10);
  await clock.pass(35);
  assert.equal(runs, 3);
});

test("waits grow with each failure, up to a limit, and never come all at the same moment", () => {
  assert.deepEqual([0, 1, 2, 10].map((failures) => doubled(2_000, failures, 30_000)), [2_000, 4_000, 8_000, 30_000]);
  assert.deepEqual([0, 1].map((drawn) => roughly(1_000, () => drawn)), [800, 1_000]);
});
