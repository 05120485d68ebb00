/** Lets bars glide and animations go on although their elements are replaced. */

/**
 * After a swap htmx gives each new element the class of the one with its id that it replaces, and then its own class.
 * Reading the animations in between makes the browser start the transition from the old width. All animations start at
 * the time 0 of the document, so a new shimmer is where the old one was.
 *
 * @param {Element} root
 */
export function continueMotion(root) {
  for (const animation of root.getAnimations({ subtree: true })) {
    if (animation instanceof CSSAnimation) animation.startTime = 0;
  }
}
