// @segment/analytics-node as a program of its own. Run: node send_segment.cjs FOLDER URL WRITE_KEY USER EVENTS
const { createRequire } = require('node:module')
const [folder, host, writeKey, userId, events] = process.argv.slice(2)
const { Analytics } = createRequire(folder + '/')('@segment/analytics-node')

async function main() {
  const failed = []
  const analytics = new Analytics({ writeKey, host, flushAt: 20, flushInterval: 200, maxRetries: 10 })
  analytics.on('error', (error) => failed.push(error))
  analytics.identify({ userId, traits: { email: `${userId}@example.com`, score: NaN } })
  analytics.page({ userId, category: 'Docs', name: 'Home', properties: { url: 'https://shop.example/' } })
  analytics.screen({ userId, category: 'Docs', name: 'Home' })
  analytics.group({ userId, groupId: 'acme', traits: { employees: Infinity } })
  analytics.alias({ userId, previousId: 'before' })
  for (let number = 0; number < Number(events); number += 1) {
    analytics.track({ userId, event: 'Order', properties: { number, total: NaN } })
    await new Promise((later) => setTimeout(later, 2))
  }
  await analytics.closeAndFlush({ timeout: 60000 })
  if (failed.length) throw new Error(JSON.stringify(failed))
}

main().catch((error) => { console.error(error); process.exit(1) })
