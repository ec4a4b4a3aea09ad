// The browser of the machine, for tests that need one.

import { existsSync } from "node:fs"
import { chromium } from "playwright-core"

const PLACES = [
  "/usr/bin/chromium",
  "/usr/bin/chromium-browser",
  "/usr/bin/google-chrome",
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
]

/** The path of a Chromium: `$CHROMIUM`, else the machine's own; undefined if there is none. */
export const executablePath = [process.env.CHROMIUM, ...PLACES].find((place) => place && existsSync(place))

/** Starts it without a window. */
export function launch() {
  // Its own sandbox does not start for root.
  const args = process.getuid?.() === 0 ? ["--no-sandbox"] : []
  return chromium.launch({ executablePath, args })
}
