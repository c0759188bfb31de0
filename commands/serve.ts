/** The HTTP side of a running process: health, metrics, and with the role console the page, /api and /query. */
import { randomBytes } from 'node:crypto'
import { consoleRoutes, clickhouseRoutes } from '../console/index.ts'
import { receiverRoutes } from '../ingest/receivers/index.ts'
import { messageOf, UsageError } from '../runtime/errors.ts'
import { createHttpServer } from '../runtime/http.ts'
import { resolveSecret } from '../runtime/secrets.ts'
import { writeRunFile } from '../store/owner.ts'
import { createIngestPipeline } from './pipeline.ts'
import type { Role } from './roles.ts'
import type { System } from './system.ts'

export interface Served {
  /** null: this process listens nowhere. */
  url: string | null
  close(): Promise<void>
}

/** Any free port: other commands find it in run.json. */
const OWN_DOOR = '127.0.0.1:0'

/** A process without the console listens only where metrics.listen says. The owner of an embedded store always has an API. */
export async function serve(system: System, roles: readonly Role[]): Promise<Served> {
  const { config, clock, log, data_dir } = system.context
  const has_console = roles.includes('console')
  const owns_store = config.store.kind === 'embedded'
  const listen = has_console ? config.console.listen : config.metrics.listen
  const receives = roles.includes('collect') && config.receivers.length > 0
  if (listen === null && receives) throw new UsageError('the receivers have no address: set metrics.listen for a process without the role console, such as 127.0.0.1:8788')
  if (listen === null && !owns_store) return { url: null, close: async () => {} }
  // Before anything listens: a token that cannot be read ends the start.
  const push = receives ? receiverRoutes(config.receivers, { pipeline: createIngestPipeline(system), bus: system.bus, clock, log }) : []

  const run_token = randomBytes(24).toString('base64url')
  const tokens = config.console.token ? [resolveSecret(config.console.token)] : []
  const server = await createHttpServer({ listen: listen ?? OWN_DOOR, tokens, own_token: run_token, hosts: publicHosts(config.console.public_url), clock, log })
  server.readiness('bus', (signal) => system.bus.ping(signal))
  server.readiness('store', (signal) => system.store.ping(signal))
  if (has_console) consoleRoutes(server, { store: system.store, clock, roles })
  else if (owns_store) server.routes(clickhouseRoutes(system.store))
  server.routes(push)
  const removeRunFile = owns_store ? writeRunFile(data_dir, { pid: process.pid, url: server.url, token: run_token }) : () => {}
  return {
    url: server.url,
    close: async () => {
      removeRunFile()
      await server.close().catch((error: unknown) => log.warn('the HTTP server did not close cleanly', { error: messageOf(error) }))
    },
  }
}

/** A reverse proxy passes its own name in the Host header. */
const publicHosts = (public_url: string | null): string[] => (public_url === null ? [] : [new URL(public_url).hostname])
