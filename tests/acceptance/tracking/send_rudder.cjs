// @rudderstack/rudder-sdk-node as a program of its own. Run: node send_rudder.cjs FOLDER URL WRITE_KEY USER EVENTS
const { createRequire } = require('node:module')
const [folder, dataPlaneUrl, writeKey, userId, events] = process.argv.slice(2)
const library = createRequire(folder + '/')('@rudderstack/rudder-sdk-node')
const Analytics = library.default || library

async function main() {
  const analytics = new Analytics(writeKey, { dataPlaneUrl, flushAt: 20, flushInterval: 200, logLevel: 'error' })
  const delivered = []
  const call = (kind, message) => delivered.push(new Promise((good, bad) => {
    analytics[kind]({ userId, ...message }, (error) => (error ? bad(error) : good()))
  }))
  call('identify', { traits: { email: `${userId}@example.com`, score: NaN } })
  call('page', { category: 'Docs', name: 'Home', properties: { url: 'https://shop.example/' } })
  call('screen', { category: 'Docs', name: 'Home' })
  call('group', { groupId: 'acme', traits: { employees: Infinity } })
  call('alias', { previousId: 'before' })
  for (let number = 0; number < Number(events); number += 1) {
    call('track', { event: 'Order', properties: { number, total: NaN } })
    await new Promise((later) => setTimeout(later, 2))
  }
  await Promise.all(delivered)
}

main().then(() => process.exit(0), (error) => { console.error(error); process.exit(1) })
