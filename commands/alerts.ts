import type { Command } from 'commander'
import { ackAlert, listAlerts, listResponses, showAlert, silenceAlert } from '../alert/actions.ts'
import { alertDocument } from '../alert/render/document.ts'
import { showUsd } from '../alert/render/money.ts'
import { textOf } from '../alert/render/text.ts'
import { createBus } from '../bus/index.ts'
import type { Bus } from '../bus/bus.ts'
import { isoTime } from '../runtime/clock.ts'
import { parseDuration } from '../runtime/duration.ts'
import { UsageError } from '../runtime/errors.ts'
import type { Alert } from '../schemas/alerts.ts'
import type { Response } from '../schemas/responses.ts'
import { type Context, loadUsedContext } from './context.ts'
import { command, type GlobalOptions, group, print, table } from './program.ts'
import { person } from './people.ts'

export const alertsCommand = (): Command =>
  group('alerts', 'what the SOC works with, without a browser').addCommand(list()).addCommand(show()).addCommand(ack()).addCommand(silence())

const list = (): Command =>
  command('list', 'alerts, the newest first')
    .option('--all', 'resolved and backfilled ones too')
    .action((options: GlobalOptions & { all?: boolean }) =>
      withBus(options, async (bus, { clock }) => {
        const alerts = await listAlerts(bus)
        const shown = options.all ? alerts : alerts.filter((alert) => alert.state !== 'resolved' && !alert.backfill)
        const hidden = alerts.length - shown.length
        print(options, shown, () => {
          const rest = hidden > 0 ? `\n${hidden} resolved or backfilled not shown (--all)` : ''
          return `${shown.length === 0 ? 'no open alerts' : alertTable(shown, clock.now())}${rest}`
        })
      }),
    )

function alertTable(alerts: readonly Alert[], now: number): string {
  return table(
    ['id', 'opened', 'severity', 'state', 'detector', 'team', 'usd/min', 'summary'],
    alerts.map((alert) => [
      alert.alert_id.slice(0, 8),
      isoTime(alert.opened_at).slice(0, 19),
      alert.severity,
      stateOf(alert, now),
      alert.detector,
      alert.team_id ?? '-',
      alert.spend_usd_per_minute === null ? '-' : showUsd(alert.spend_usd_per_minute),
      alert.summary,
    ]),
  )
}

const stateOf = (alert: Alert, now: number): string =>
  `${alert.state}${alert.backfill ? ' (old)' : ''}${alert.acked_by === null ? '' : `, acked by ${alert.acked_by}`}${(alert.silenced_until ?? 0) > now ? ', silenced' : ''}`

const show = (): Command =>
  command('show', 'one alert with its evidence')
    .argument('<id>', 'alert id, or its first characters')
    .action((id: string, options: GlobalOptions) =>
      withBus(options, async (bus, { config }) => {
        const alert = await showAlert(bus, id)
        const proposals = (await listResponses(bus)).filter(({ alert_id }) => alert_id === alert.alert_id)
        print(options, alert, () => alertText(alert, proposals[0] ?? null, config.console.public_url))
      }),
    )

/** What a mail about it would say now; --json has the evidence uncut. */
export function alertText(alert: Alert, proposal: Response | null, console_url: string | null): string {
  const kind = alert.state
  const document = alertDocument({ notification_id: alert.alert_id, kind, alert, proposal, sequence: 0 }, console_url)
  return textOf({ ...document, next: document.next.filter(([, how]) => !how.includes('alerts show')) }).trimEnd()
}

const ack = (): Command =>
  command('ack', 'says that somebody looks at it; no more notifications')
    .argument('<id>')
    .option('--why <text>', 'a word for the next shift')
    .option('--who <name>', 'default: the user of this machine')
    .action((id: string, options: GlobalOptions & { why?: string; who?: string }) =>
      withBus(options, async (bus, { clock }) => {
        const action = await ackAlert(bus, { id, who: person(options.who), why: options.why ?? null, now: clock.now() })
        print(options, action, () => `acknowledged ${action.alert_id} as ${action.who}`)
      }),
    )

const silence = (): Command =>
  command('silence', 'no notifications of this alert for a while')
    .argument('<id>')
    .requiredOption('--for <duration>', 'such as 30m, 8h, 2d')
    .option('--why <text>', 'a word for the next shift')
    .option('--who <name>', 'default: the user of this machine')
    .action((id: string, options: GlobalOptions & { for: string; why?: string; who?: string }) =>
      withBus(options, async (bus, { clock }) => {
        const for_ms = parseDuration(options.for)
        if (for_ms === undefined) throw new UsageError(`--for takes a duration such as 30m, 8h or 2d, not "${options.for}"`)
        const action = await silenceAlert(bus, { id, who: person(options.who), why: options.why ?? null, now: clock.now(), until: clock.now() + for_ms })
        print(options, action, () => `silenced ${action.alert_id} until ${isoTime(action.until ?? 0)}`)
      }),
    )

/** Opens the bus of the config, runs, closes. */
export async function withBus<T>(options: GlobalOptions, work: (bus: Bus, context: Context) => Promise<T>): Promise<T> {
  const context = loadUsedContext(options, 'bus')
  const bus = createBus(context.config.bus, context)
  try {
    return await work(bus, context)
  } finally {
    await bus.close()
  }
}
