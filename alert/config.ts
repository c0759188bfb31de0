/** The `alerts` and `responses` sections of the config. */
import { z } from 'zod'
import { duration } from '../runtime/duration.ts'
import { severity } from '../schemas/scalars.ts'
import { responderConfig } from './responders/index.ts'
import { sinkConfig } from './sinks/index.ts'

const name = z.string().regex(/^[a-z0-9][a-z0-9-]{0,63}$/, 'a short kebab-case name')
const pattern = z.string().min(1).max(300)
const list = (what: string) => z.array(pattern).min(1).optional().describe(`${what}; exact, or with * for any characters; absent: all`)

const match = {
  detectors: list('detector ids'),
  teams: list('team ids'),
  services: list('service names'),
  entities: list('entities such as key:fp_…'),
}

const route = z.strictObject({
  ...match,
  min_severity: severity.optional().describe('only alerts at least this severe'),
  sinks: z.array(name).describe('names of sinks; an empty list tells nobody'),
  continue: z.boolean().default(false).describe('look at the routes below as well; without it the first route that matches decides'),
})

const silence = z.strictObject({
  ...match,
  from: z.iso.datetime({ offset: true }).optional().describe('start, for example 2026-11-22T18:00:00Z; absent: always was'),
  until: z.iso.datetime({ offset: true }).optional().describe('end; absent: until the config says otherwise'),
  why: z.string().min(1).max(500).describe('for those who wonder later'),
})

const retries = ['5s', '5m', '30m', '2h', '5h', '10h', '14h', '20h', '24h']

const delivery = z.strictObject({
  timeout: duration.prefault('15s').describe('longest time that one attempt may take'),
  retries: z.array(duration).max(20).prefault(retries).describe('longest wait before each further attempt; the wait is drawn between 0 and it'),
  retry_after_max: duration.prefault('6h').describe('ceiling of what a receiver may ask for with Retry-After'),
})

export const alertsConfig = z
  .strictObject({
    sinks: z
      .record(name, sinkConfig)
      .prefault({ terminal: { kind: 'terminal' } })
      .describe('who is told: a name of your own and the kind of sink'),
    routes: z.array(route).prefault([]).describe('which alerts go to which sinks, first match; empty: all alerts to all sinks'),
    silences: z.array(silence).prefault([]).describe('what is stored and not told'),
    min_severity: severity.prefault('low').describe('less severe alerts are stored and not told'),
    resolve_after: duration.prefault('30m').describe('an incident without findings for so long is over'),
    repeat_after: duration.or(z.literal('never')).prefault('4h').describe('remind of an incident that nobody acknowledged, or "never"'),
    delivery: delivery.prefault({}).describe('attempts and retries'),
  })
  .superRefine((config, context) => {
    config.routes.forEach((entry, index) => {
      entry.sinks.forEach((sink, position) => {
        if (!(sink in config.sinks)) context.addIssue({ code: 'custom', path: ['routes', index, 'sinks', position], message: `there is no sink "${sink}" in alerts.sinks` })
      })
    })
  })
  .describe('Who is told about what')
export type AlertsConfig = z.infer<typeof alertsConfig>

const policy = z.enum(['off', 'dry-run', 'approve', 'auto'])
export type ResponsePolicy = z.infer<typeof policy>

const targetPattern = z.strictObject({
  kind: pattern.optional().describe('api-key, actor …'),
  id: pattern.describe('exact, or with * for any characters'),
  provider: pattern.optional(),
})

export const responsesConfig = z
  .strictObject({
    policy: policy.prefault('dry-run').describe('off: no proposals; dry-run: proposals that cannot be carried out; approve: a person decides; auto: carried out at once'),
    detectors: z
      .record(z.string(), z.strictObject({ policy: policy.optional(), action: z.string().min(1).max(100).optional().describe('what is proposed, for example disable-key') }))
      .prefault({})
      .describe('other policy or action for single detectors'),
    max_finding_age: duration.prefault('15m').describe('no action rests on anything older'),
    approval_expires: duration.prefault('1h').describe('a proposal that nobody decided is over after this'),
    limits: z
      .strictObject({
        actions_per_hour: z.int().min(0).prefault(1).describe('more than this aborts all that is waiting, and says so'),
        share_of_active_keys: z.number().gt(0).max(1).prefault(0.05).describe('largest part of the active keys cut in one hour, but never less than one key'),
      })
      .prefault({}),
    protected: z.array(targetPattern).prefault([]).describe('targets that are never touched: break-glass keys, our own credentials'),
    people: z.array(z.string().min(1).max(200)).prefault([]).describe('who may approve, deny and undo; empty: nobody'),
    responders: z.record(name, responderConfig).prefault({}).describe('who carries commands out'),
    deadline: duration.prefault('30s').describe('longest time that one command may take'),
  })
  .describe('What may be done about it')
export type ResponsesConfig = z.infer<typeof responsesConfig>
