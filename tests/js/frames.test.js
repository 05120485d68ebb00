/** Reading what is pushed. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { readFrame } from "../../static/js/frames.js";

test("fragments come with the number of pages that watch", () => {
  const html = '<div id="dataset-live" hx-swap-oob="true"><!-- gone --></div>';
  assert.deepEqual(readFrame(`${html}<!-- watchers 12 -->`), { html, notice: null, watchers: 12, sockets: null });
});

test("notices are comments alone", () => {
  const keepalive = { html: "<!-- here -->", notice: "keepalive", watchers: null };
  assert.deepEqual(readFrame("<!-- here -->"), { ...keepalive, sockets: null });
  assert.deepEqual(readFrame("<!-- here --><!-- sockets 5000 -->"), { ...keepalive, sockets: 5000 });
  assert.equal(readFrame("<!-- new dataset --><!-- watchers 3 -->").notice, "new dataset");
  assert.equal(readFrame("<!-- new dataset --><!-- watchers 3 -->").watchers, 3);
  assert.equal(readFrame("<!-- gone -->").notice, "gone");
});

test("a comment that is not known is no notice", () => {
  assert.equal(readFrame("<!-- something of later -->").notice, null);
});
