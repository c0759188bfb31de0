/** The console: one status page, the JSON that it reads, and a ClickHouse-compatible door to the store. */
import { readFileSync } from 'node:fs'
import type { Clock } from '../runtime/clock.ts'
import { Refusal } from '../runtime/http-guard.ts'
import type { HttpAnswer, HttpServer } from '../runtime/http.ts'
import type { Store } from '../store/store.ts'
import { alertOf, alertsOf } from './alerts.ts'
import { clickhouseRoutes } from './clickhouse-http.ts'
import { spendByDay } from './spend.ts'
import { createStatus } from './status.ts'

export { clickhouseRoutes }

interface ConsoleContext {
  store: Pick<Store, 'database' | 'query' | 'read'>
  clock: Clock
  /** Roles of this process, for the page. */
  roles: readonly string[]
}

/** Registers `/`, its assets, `/api/status`, `/api/alerts`, `/api/spend`, `/query` and `/ping`. Reading only: nothing here changes anything. */
export function consoleRoutes(server: Pick<HttpServer, 'route' | 'routes'>, { store, clock, roles }: ConsoleContext): void {
  server.route('GET', '/', () => asset('index.html', 'text/html; charset=utf-8'), { linkable: true })
  // Where the links of mails, webhooks and commands lead (console.public_url).
  server.route('GET', '/alerts/:id', () => asset('index.html', 'text/html; charset=utf-8'), { linkable: true })
  server.route('GET', '/assets/theme.css', () => asset('theme.css', 'text/css; charset=utf-8'))
  server.route('GET', '/assets/page.css', () => asset('page.css', 'text/css; charset=utf-8'))
  server.route('GET', '/assets/alert.css', () => asset('alert.css', 'text/css; charset=utf-8'))
  server.route('GET', '/assets/page.js', () => asset('page.js', 'text/javascript; charset=utf-8'))
  server.route('GET', '/assets/alert.js', () => asset('alert.js', 'text/javascript; charset=utf-8'))
  server.route('GET', '/assets/icon.svg', () => asset('icon.svg', 'image/svg+xml'))
  const status = createStatus({ store, clock, roles })
  server.route('GET', '/api/status', async () => ({ json: await status() }))
  server.route('GET', '/api/alerts', async ({ query }) => ({ json: { alerts: await alertsOf(store, count(query, 'limit', 100, 1000)) } }))
  server.route('GET', '/api/alerts/:id', async ({ params }) => {
    const alert = await alertOf(store, (params['id'] ?? '').toLowerCase())
    if (alert === undefined) throw new Refusal(404, 'there is no alert with this id; the newest are at /, all of them in: npx tokenwatch alerts list --all')
    return { json: { alert } }
  })
  server.route('GET', '/api/spend', async ({ query }) => ({ json: { days: await spendByDay(store, clock.now(), count(query, 'days', 30, 400)) } }))
  server.routes(clickhouseRoutes(store))
}

const loaded = new Map<string, string>()

function asset(name: string, type: string): HttpAnswer {
  const text = loaded.get(name) ?? readFileSync(new URL(`./assets/${name}`, import.meta.url), 'utf8')
  loaded.set(name, text)
  return { headers: { 'content-type': type, 'cache-control': 'no-cache' }, body: text }
}

function count(query: URLSearchParams, name: string, otherwise: number, most: number): number {
  const text = query.get(name)
  if (text === null) return otherwise
  const value = Number(text)
  if (!Number.isInteger(value) || value < 1 || value > most) throw new Refusal(400, `${name} is a whole number from 1 to ${most}`)
  return value
}
