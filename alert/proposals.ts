/**
 * From an alert to a command, or to the reason why not. Belts are on by default: dry-run until somebody says otherwise, no
 * action on anything old, backfilled or protected, few actions an hour; more than that aborts all of them, for a part of an
 * unexpected set makes no sense.
 */
import { isoTime } from '../runtime/clock.ts'
import { nameUuid } from '../runtime/ids.ts'
import type { AlertAction } from '../schemas/alert-actions.ts'
import type { Alert } from '../schemas/alerts.ts'
import type { Command } from '../schemas/commands.ts'
import type { Response, Target } from '../schemas/responses.ts'
import { append, type ResponseLedger, type ResponseStep } from './chain.ts'
import type { ResponsePolicy, ResponsesConfig } from './config.ts'
import { isProtected } from './routing.ts'

const HOUR_MS = 3_600_000
export const POLICY = 'policy'

export type BlastRadius = NonNullable<Response['blast_radius']>

/** What a decision may look at; nothing here does I/O. */
export interface DecisionContext {
  config: ResponsesConfig
  ledger: ResponseLedger
  now: number
  console_url: string | null
  /** Keys seen lately; null: not known, then one action an hour is the most. */
  active_keys: number | null
}

/** The last word on a response: the newest step that decides something; the refusal of a person's act leaves everything as it stood. */
export function standing(steps: readonly Response[]): Response | undefined {
  return steps.findLast((step) => !(step.step === 'refused' && step.who !== POLICY && step.responder === null))
}

export function policyFor(config: ResponsesConfig, detector: string): { policy: ResponsePolicy; action: string | undefined } {
  const own = config.detectors[detector]
  return { policy: own?.policy ?? config.policy, action: own?.action }
}

/** Does anything go off without a person? */
export const hasAuto = ({ policy, detectors }: ResponsesConfig): boolean => policy === 'auto' || Object.values(detectors).some((own) => own.policy === 'auto')

const policyNow = (alert: Alert | undefined, config: ResponsesConfig): ResponsePolicy | undefined => (alert === undefined ? undefined : policyFor(config, alert.detector).policy)

/** What could be shut down for this alert; undefined: nothing that a provider would know. */
export function targetOf(alert: Alert): Target | undefined {
  const provider = alert.provider ?? 'unknown'
  if (alert.api_key_id !== null) return { kind: 'api-key', id: alert.api_key_id, provider }
  const [kind = '', ...rest] = alert.entity.split(':')
  const id = rest.join(':')
  if (id === '') return undefined
  if (kind === 'key') return { kind: 'api-key', id, provider }
  return kind === 'actor' ? { kind, id, provider } : undefined
}

/** Whether a proposal is due: live, told or not, still going on, young, and nobody proposed it yet. */
export function wantsProposal(alert: Alert, context: DecisionContext): Target | undefined {
  const { config, ledger, now } = context
  const { policy, action } = policyFor(config, alert.detector)
  if (policy === 'off' || alert.backfill || alert.state === 'resolved' || now - alert.last_event_time > config.max_finding_age) return undefined
  const target = targetOf(alert)
  return target === undefined || ledger.steps.has(responseId(alert, action ?? defaultAction(target))) ? undefined : target
}

/** Writes the proposal; under `auto` the decision follows from decideAuto. */
export function propose(alert: Alert, target: Target, blast: BlastRadius | null, context: DecisionContext): Response {
  const { policy, action } = policyFor(context.config, alert.detector)
  const name = action ?? defaultAction(target)
  const shielded = isProtected(context.config, target)
  return append(context.ledger, {
    response_id: responseId(alert, name),
    alert_id: alert.alert_id,
    step: shielded ? 'refused' : 'proposed',
    at: context.now,
    who: POLICY,
    why: alert.reason,
    action: name,
    target,
    dry_run: policy === 'dry-run',
    policy,
    expires_at: context.now + context.config.approval_expires,
    command_id: null,
    responder: null,
    blast_radius: blast,
    detail: shielded ? 'the target is protected by responses.protected' : null,
  })
}

/** Carries out what stands under `auto`: all of it, or none if it is more than the limits allow. */
export function decideAuto(proposals: readonly Response[], alerts: ReadonlyMap<string, Alert>, context: DecisionContext): Response[] {
  // Both have to say auto: what stood when the config was disarmed must not go off afterwards.
  const isAuto = ({ policy, alert_id }: Response): boolean => policy === 'auto' && policyNow(alerts.get(alert_id), context.config) === 'auto'
  const due = proposals.filter(
    (proposal) => proposal.step === 'proposed' && isAuto(proposal) && standing(context.ledger.steps.get(proposal.response_id) ?? [])?.step === 'proposed',
  )
  if (due.length === 0) return []
  if (overLimit(due.length, context)) return abortAll(context, null)
  return due.map((proposal) => approve(proposal, { who: POLICY, why: 'responses.policy is auto', mark: null }, alerts.get(proposal.alert_id), context))
}

/** A person approves, denies; `undo` is the responders' work. Repeating an act changes nothing: every step names its act. */
export function decideAct(act: AlertAction, alerts: ReadonlyMap<string, Alert>, context: DecisionContext): Response[] {
  const steps = act.response_id === null ? undefined : context.ledger.steps.get(act.response_id)
  const current = steps === undefined ? undefined : standing(steps)
  if (steps === undefined || current === undefined || (act.act !== 'approve' && act.act !== 'deny')) return []
  const by: Decider = { who: personOf(act), why: act.why, mark: `${act.act} ${act.action_id}` }
  if (steps.some((step) => step.detail?.startsWith(by.mark ?? '') === true)) return []
  const refuse = (why: string): Response[] => [record(current, 'refused', by, why, context)]
  if (current.step !== 'proposed') return refuse(`this response is already ${current.step}`)
  // Before the person, because whoever it is: there is nothing to approve.
  if (current.dry_run && act.act === 'approve') return refuse(DRY_RUN)
  if (!context.config.people.includes(by.who)) return refuse(`${by.who} is not in responses.people`)
  if (act.act === 'deny') return [record(current, 'denied', by, null, context)]
  if (overLimit(1, context)) return abortAll(context, by.mark)
  return [approve(current, by, alerts.get(current.alert_id), context)]
}

const DRY_RUN = 'this is a dry-run proposal; set responses.policy (or responses.detectors) to approve so that the next one can be carried out'

/** Proposals that nobody decided in time. */
export function expireDue(context: DecisionContext): Response[] {
  const over = lastSteps(context).filter((last) => last.step === 'proposed' && last.expires_at !== null && last.expires_at < context.now)
  return over.map((last) => record(last, 'expired', bySystem, 'nobody decided in time', context))
}

/**
 * Commands for what is approved and not issued yet, with the notes that they are out. Approvals are published before this is
 * called, the commands before the notes: after a crash the same commands, with the same ids, come again.
 */
export function issueApproved(alerts: ReadonlyMap<string, Alert>, context: DecisionContext): { commands: Command[]; responses: Response[] } {
  const commands: Command[] = []
  const responses: Response[] = []
  for (const approved of lastSteps(context).filter((last) => last.step === 'approved')) {
    const expires = approved.at + context.config.max_finding_age
    if (context.now > expires) {
      responses.push(record(approved, 'refused', bySystem, 'it was approved but could not be issued in time', context))
      continue
    }
    const refusal = reasonAgainst(approved, alerts.get(approved.alert_id), context.config, approved.at)
    if (refusal !== undefined) {
      responses.push(record(approved, 'refused', bySystem, refusal, context))
      continue
    }
    const command = commandFor(approved, expires, context.console_url)
    commands.push(command)
    responses.push(append(context.ledger, { ...stepOf(approved), step: 'issued', at: context.now, command_id: command.command_id, detail: null }))
  }
  return { commands, responses }
}

/** A person who takes the policy's name must not get its word: the refusal of a stranger's act would then be the last one on the response. */
export const personOf = ({ who }: AlertAction): string => (who === POLICY ? `${who} (a person)` : who)

interface Decider {
  who: string
  why: string | null
  /** Names the act that asked for it. */
  mark: string | null
}
const bySystem: Decider = { who: POLICY, why: null, mark: null }

function approve(proposal: Response, by: Decider, alert: Alert | undefined, context: DecisionContext): Response {
  const { config, now } = context
  if (proposal.expires_at !== null && proposal.expires_at < now) return record(proposal, 'expired', by, 'it was approved too late', context)
  const refusal = reasonAgainst(proposal, alert, config, now)
  return refusal === undefined ? record(proposal, 'approved', by, null, context) : record(proposal, 'refused', { ...by, who: POLICY }, refusal, context)
}

function reasonAgainst(proposal: Response, alert: Alert | undefined, config: ResponsesConfig, now: number): string | undefined {
  if (alert === undefined) return 'its alert is not known any more'
  if (alert.backfill) return 'its alert comes from old data'
  const policy = policyNow(alert, config)
  if (policy === 'off' || policy === 'dry-run') return `responses.policy is ${policy} by now`
  if (now - alert.last_event_time > config.max_finding_age) return `its newest event is from ${isoTime(alert.last_event_time)}, older than responses.max_finding_age`
  return isProtected(config, proposal.target) ? 'the target is protected by responses.protected' : undefined
}

const commandFor = (approved: Response, expires_at: number, consoleUrl: string | null): Command => ({
  command_id: commandId(approved.response_id),
  alert_id: approved.alert_id,
  action: approved.action,
  target: approved.target,
  reason: approved.why ?? 'approved',
  evidence_url: consoleUrl === null ? null : `${consoleUrl.replace(/\/$/, '')}/alerts/${approved.alert_id}`,
  dry_run: false,
  expires_at,
  issued_at: approved.at,
})

function overLimit(wanted: number, context: DecisionContext): boolean {
  const { config, ledger, now, active_keys } = context
  let acted = 0
  for (const steps of ledger.steps.values()) if (steps.some((step) => step.step === 'approved' && step.at > now - HOUR_MS)) acted += 1
  const share = active_keys === null ? 1 : Math.max(1, Math.floor(active_keys * config.limits.share_of_active_keys))
  return acted + wanted > Math.min(config.limits.actions_per_hour, share)
}

/** Everything that waits and could be carried out is refused: too much at once is a sign that the picture is wrong. */
function abortAll(context: DecisionContext, mark: string | null): Response[] {
  const { actions_per_hour, share_of_active_keys } = context.config.limits
  const why = `more actions than responses.limits allows (${actions_per_hour} an hour, ${share_of_active_keys * 100} % of the active keys): all that waited is aborted, look before you raise the limit`
  return lastSteps(context)
    .filter((last) => last.step === 'proposed' && !last.dry_run)
    .map((last) => record(last, 'refused', { ...bySystem, mark }, why, context))
}

const defaultAction = (target: Target): string => (target.kind === 'api-key' ? 'disable-key' : `disable-${target.kind}`)
/** A response leads to one command, however often it is issued. */
export const commandId = (response_id: string): string => nameUuid(response_id, 'command')
const responseId = (alert: Alert, action: string): string => nameUuid(alert.alert_id, action)
const lastSteps = (context: DecisionContext): Response[] => [...context.ledger.steps.values()].map(standing).filter((last) => last !== undefined)

function stepOf(response: Response): ResponseStep {
  const { seq: _seq, prev: _prev, hash: _hash, ...step } = response
  return step
}

const record = (base: Response, step: Response['step'], by: Decider, detail: string | null, context: DecisionContext): Response =>
  append(context.ledger, { ...stepOf(base), step, at: context.now, who: by.who, why: by.why, detail: [by.mark, detail].filter((part) => part !== null).join(': ') || null })
