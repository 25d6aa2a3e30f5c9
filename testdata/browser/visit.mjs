// usage: node visit.mjs BROWSER URL...
// Opens each page, prints what it says on its console and its outcome, and fails unless every outcome is "done".
import { chromium } from 'playwright-core'

const [executablePath, ...urls] = process.argv.slice(2)
const args = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP chat.example.com 127.0.0.1',
]

// Now and then Chromium crashes while it starts; that is not what is tested.
async function launch(tries) {
  try {
    return await chromium.launch({ executablePath, args })
  } catch (err) {
    if (tries === 1) throw err
    console.log(`Chromium did not start, once more: ${String(err).split('\n')[0]}`)
    return launch(tries - 1)
  }
}

const browser = await launch(3)
let code = 0
try {
  for (const url of urls) {
    const page = await browser.newPage()
    page.on('console', (m) => console.log(m.text()))
    page.on('pageerror', (err) => console.log(String(err)))
    await page.goto(url)
    const outcome = await page.waitForFunction(() => window.outcome, undefined, { timeout: 60_000 }).then((v) => v.jsonValue())
    console.log(`${url}: ${outcome}`)
    if (outcome !== 'done') code = 1
    await page.close()
  }
} finally {
  await browser.close()
}
process.exit(code)
