/**
 * The loop that carries commands out. An intent with a deadline is durable before the one call; after it the target is read
 * back. What nobody can know is written down as `unknown` and never tried again blindly: a person looks, then decides.
 */
import type { Bus } from '../bus/bus.ts'
import type { Clock } from '../runtime/clock.ts'
import { messageOf } from '../runtime/errors.ts'
import type { Logger } from '../runtime/log.ts'
import { counter } from '../runtime/metrics.ts'
import { retry } from '../runtime/retry.ts'
import { plainText } from '../runtime/text.ts'
import type { AlertAction } from '../schemas/alert-actions.ts'
import type { Command } from '../schemas/commands.ts'
import type { Response } from '../schemas/responses.ts'
import { append, readLedger, type ResponseLedger } from './chain.ts'
import type { ResponsesConfig } from './config.ts'
import { commandId, personOf, POLICY, standing } from './proposals.ts'
import type { Responder, ResponderReceipt, Rung } from './responder.ts'
import { isProtected } from './routing.ts'

export interface RespondersOptions {
  bus: Bus
  config: ResponsesConfig
  /** The responders of the config by name, asked in this order. */
  responders: ReadonlyMap<string, Responder>
  clock: Clock
  log: Logger
}

/** A receiver without a list of actions takes whatever was approved. */
const ANY_ACTION = '*'
const never = new AbortController().signal
/** Steps after which nothing more happens to a command. */
const ENDS: ReadonlySet<string> = new Set(['executed', 'verified', 'failed', 'refused', 'unknown', 'undone'])

const executed = counter('tokenwatch_responses_total', 'Steps of commands by responder and outcome', ['responder', 'step'])

/** Resolves when the signal aborts and the running command has ended; rejects when the bus cannot go on. */
export async function runResponders(options: RespondersOptions, signal: AbortSignal): Promise<void> {
  await options.bus.consume(
    ['commands.v1', 'alert-actions.v1'],
    'respond',
    {
      handle: async (batch, handling) => {
        if (batch.topic === 'commands.v1') for (const command of batch.records) await carryOut(options, command, handling)
        else for (const act of batch.records) if (act.act === 'undo') await undo(options, act, handling)
      },
    },
    signal,
    // One at a time: a batch that is handed over again must not hold more than one call in doubt.
    { max_records: 1 },
  )
}

async function carryOut(options: RespondersOptions, command: Command, signal: AbortSignal): Promise<void> {
  const { bus, clock, config, log } = options
  const ledger = await readLedger(bus, signal)
  // Cut short by the abort it may lack the very step that says that this was done.
  if (signal.aborted) return
  const decision = decisionBehind(ledger, command)
  // Whoever can write to commands.v1 is not thereby allowed to cut keys.
  if (decision === undefined) return log.error('a command without an approved response behind it is ignored', { command_id: command.command_id })
  const write = writer(options, ledger, { ...decision, command_id: command.command_id })
  const done = ofCommand(ledger, decision.response_id, command.command_id)
  const last = done.at(-1)
  if (done.some((step) => ENDS.has(step.step))) return
  if (last !== undefined) return afterCrash(options, command, last, write, signal)
  // The command's own word is not enough: an old approval must not be used again under a new date.
  if (clock.now() >= Math.min(command.expires_at, approvedAt(ledger, decision) + config.max_finding_age))
    return void (await write('refused', 'none', 'the command had expired before a responder got it'))
  if (isProtected(config, command.target)) return void (await write('refused', 'none', 'the target is protected by responses.protected'))
  const found = await rungFor(options, command, signal)
  if (found === undefined) return void (await write('refused', 'none', `no responder of the config carries out "${command.action}" on ${command.target.kind}`))
  if (!signal.aborted) await callOnce(options, command, found, ledger, write)
}

/** From here on the work is finished also on shutdown, so that nothing stays in doubt. */
async function callOnce(options: RespondersOptions, command: Command, found: Found, ledger: ResponseLedger, write: Write): Promise<void> {
  const { bus, clock, config, log } = options
  const deadline = clock.now() + config.deadline
  const intent = await write('intent', found.name, found.rung.summary, deadline)
  // Who was frozen while the target went to another process writes its intent beside that one's: the first on the bus acts.
  const [first] = ofCommand(await readLedger(bus, never), intent.response_id, command.command_id)
  if (first?.hash !== intent.hash) return log.warn('another responder has the command', { command_id: command.command_id })
  const left = deadline - clock.now()
  if (left <= 0) return void (await write('failed', found.name, 'no call was made: the bus took longer for the intent than responses.deadline'))
  const receipt = await inTime(options, left, (inner) => found.responder.execute(found.rung, command, inner), unknownReceipt)
  await write(STEP_OF[receipt.outcome], found.name, receipt.detail, null, receipt.undo_token)
  if (receipt.outcome === 'executed') await readBack(options, found, write)
}

const STEP_OF = { executed: 'executed', noop: 'executed', refused: 'failed', unknown: 'unknown' } as const

type Write = (step: Response['step'], responder: string, detail: string, deadline?: number | null, undoToken?: string) => Promise<Response>
interface Found {
  name: string
  responder: Responder
  rung: Rung
}

/** The intent of a process that died. Its call may still run until the deadline; after that only the target itself knows. */
async function afterCrash(options: RespondersOptions, command: Command, intent: Response, write: Write, signal: AbortSignal): Promise<void> {
  const { clock, responders } = options
  await clock.sleep(Math.max(0, (intent.expires_at ?? 0) - clock.now()), signal)
  if (signal.aborted) return
  const name = intent.responder ?? 'none'
  const responder = responders.get(name)
  const rung = responder === undefined ? undefined : (await responder.plan(command.target, signal)).find((one) => fits(one, command.action))
  const state = responder === undefined || rung === undefined ? 'unknown' : await responder.read_back(rung, signal).catch(() => 'unknown' as const)
  if (state === 'contained') return void (await write('verified', name, 'the process died after its intent; the target is contained'))
  if (state === 'active') return void (await write('failed', name, 'the process died after its intent; the target is still active'))
  await write('unknown', name, 'the process died after its intent and the target cannot be read: look there before you try again')
}

async function readBack(options: RespondersOptions, { name, responder, rung }: Found, write: Write): Promise<void> {
  const state = await inTime<'contained' | 'active' | 'unknown'>(
    options,
    options.config.deadline,
    (inner) => responder.read_back(rung, inner),
    () => 'unknown',
  )
  if (state === 'contained') await write('verified', name, 'read back: the target is contained')
  else if (state === 'active') await write('failed', name, 'read back: the target is still active')
}

async function undo(options: RespondersOptions, act: AlertAction, signal: AbortSignal): Promise<void> {
  const { bus, clock, config, responders } = options
  const ledger = await readLedger(bus, signal)
  if (signal.aborted) return
  const steps = ledger.steps.get(act.response_id ?? '') ?? []
  const who = personOf(act)
  const mark = `undo ${act.action_id}`
  const marked = steps.filter((step) => step.detail?.startsWith(mark) === true)
  const current = standing(steps)
  if (current === undefined || (marked.length > 0 && marked.at(-1)?.step !== 'intent')) return
  const note = async (step: Response['step'], responder: string | null, detail: string): Promise<void> => {
    const { seq: _seq, prev: _prev, hash: _hash, undo_token: _token, ...base } = current
    const response = append(ledger, { ...base, step, at: clock.now(), who, why: act.why, responder, detail: plainText(`${mark}: ${detail}`, 2000) })
    await bus.publish('responses.v1', [response])
  }
  const name = current.responder ?? ''
  if (marked.length > 0) return note('unknown', name, 'the process died while it was undone: look at the target')
  if (!config.people.includes(who)) return note('refused', null, `${who} is not in responses.people`)
  const responder = responders.get(name)
  const receipt = steps.findLast((step) => step.step === 'executed')
  if (receipt === undefined || current.step === 'undone') return note('refused', null, `nothing to take back: the response is ${current.step}`)
  const rung = (await responder?.plan(current.target, signal))?.find((one) => fits(one, current.action))
  if (responder === undefined || rung === undefined) return note('refused', null, `the responder "${name}" is not in the config any more`)
  await note('intent', name, `asks ${name} to take it back`)
  const given: ResponderReceipt = { outcome: 'executed', detail: receipt.detail ?? '', ...(receipt.undo_token === undefined ? {} : { undo_token: receipt.undo_token }) }
  const result = await inTime(options, config.deadline, (inner) => responder.undo(rung, given, inner), unknownReceipt)
  if (result.outcome === 'executed' || result.outcome === 'noop') return note('undone', name, result.detail)
  await note(result.outcome === 'refused' ? 'failed' : 'unknown', name, result.detail)
}

/** The approved or issued step that a command rests on; the same action on the same target, never a dry run. */
function decisionBehind(ledger: ResponseLedger, command: Command): Response | undefined {
  for (const id of ledger.byAlert.get(command.alert_id) ?? []) {
    const decided = ledger.steps.get(id)?.findLast((step) => step.step === 'approved' || step.step === 'issued')
    // Its own id, or an approval that was used once would carry out any number of commands.
    if (decided === undefined || decided.dry_run || decided.action !== command.action || command.command_id !== commandId(id)) continue
    const { kind, provider, id: target } = decided.target
    if (kind === command.target.kind && provider === command.target.provider && target === command.target.id) return decided
  }
  return undefined
}

const approvedAt = (ledger: ResponseLedger, decided: Response): number => ledger.steps.get(decided.response_id)?.findLast((step) => step.step === 'approved')?.at ?? decided.at

const ofCommand = (ledger: ResponseLedger, responseId: string, commandId: string): Response[] =>
  (ledger.steps.get(responseId) ?? []).filter((step) => step.responder !== null && step.command_id === commandId)

function writer(options: RespondersOptions, ledger: ResponseLedger, base: Response): Write {
  const { bus, clock, log } = options
  return async (step, responder, detail, deadline = null, undoToken) => {
    const { seq: _seq, prev: _prev, hash: _hash, undo_token: _token, ...rest } = base
    const record = { ...rest, step, at: clock.now(), who: responder === 'none' ? POLICY : responder, responder, detail: plainText(detail, 2000), expires_at: deadline }
    const response = append(ledger, undoToken === undefined ? record : { ...record, undo_token: undoToken })
    // What became of a call is known here only: it is kept until the bus has it, also when the partition has gone elsewhere.
    if (ENDS.has(step)) await retry(() => bus.publish('responses.v1', [response]), { clock, signal: never, what: 'the bus', log })
    else await bus.publish('responses.v1', [response])
    executed.inc({ responder, step })
    log.info('a command took a step', { command_id: base.command_id, step, responder, detail })
    return response
  }
}

/** The least destructive rung that any responder offers for the action. */
async function rungFor({ responders }: RespondersOptions, command: Command, signal: AbortSignal): Promise<Found | undefined> {
  const found: Found[] = []
  for (const [name, responder] of responders) {
    for (const rung of await responder.plan(command.target, signal)) if (fits(rung, command.action)) found.push({ name, responder, rung })
  }
  return found.sort((left, right) => left.rung.level - right.rung.level)[0]
}

const fits = (rung: Rung, action: string): boolean => rung.action === action || rung.action === ANY_ACTION

/** After the deadline the owner of an intent makes no call any more, whatever the responder does. */
async function inTime<T>({ clock }: RespondersOptions, limit: number, work: (signal: AbortSignal) => Promise<T>, unknown: (detail: string) => T): Promise<T> {
  const deadline = new AbortController()
  const finished = new AbortController()
  const late = clock.sleep(limit, finished.signal).then(() => {
    deadline.abort()
    return unknown(`no answer within ${limit} ms`)
  })
  try {
    return await Promise.race([work(deadline.signal), late])
  } catch (error) {
    return unknown(plainText(messageOf(error), 1000))
  } finally {
    finished.abort()
  }
}

const unknownReceipt = (detail: string): ResponderReceipt => ({ outcome: 'unknown', detail })
