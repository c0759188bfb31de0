import type { Command } from 'commander'
import { answerTo, decideResponse, listResponses, reasonOf } from '../alert/actions.ts'
import { isoTime } from '../runtime/clock.ts'
import type { AlertAction } from '../schemas/alert-actions.ts'
import type { Response } from '../schemas/responses.ts'
import { withBus } from './alerts.ts'
import { person } from './people.ts'
import { command, type GlobalOptions, group, print, table } from './program.ts'

export const responsesCommand = (): Command =>
  group('responses', 'proposed and running shutdowns')
    .addCommand(list())
    .addCommand(decide('approve', 'issues the shutdown command, if policy, limits and age allow it'))
    .addCommand(decide('deny', 'closes the proposal'))
    .addCommand(decide('undo', 'asks the responder to take the shutdown back'))

const list = (): Command =>
  command('list', 'the last step of each response, the newest first').action((options: GlobalOptions) =>
    withBus(options, async (bus) => {
      const responses = await listResponses(bus)
      print(options, responses, () => (responses.length === 0 ? 'no responses' : table(['id', 'at', 'step', 'mode', 'action', 'target', 'who', 'detail'], responses.map(row))))
    }),
  )

const row = (response: Response): string[] => [
  response.response_id.slice(0, 8),
  isoTime(response.at).slice(0, 19),
  response.step,
  response.dry_run ? 'dry-run' : response.policy,
  response.action,
  `${response.target.provider} ${response.target.kind} ${response.target.id}`,
  response.who,
  response.detail ?? response.why ?? '',
]

/** Deciding takes less than a second; a responder that undoes may need its deadline, whose outcome is in the list later. */
const ANSWER_MS = 10_000
const DONE: ReadonlySet<Response['step']> = new Set(['approved', 'denied', 'undone'])

function told(action: AlertAction, answer: Response | undefined, reason: string | null): string {
  const act = `${action.act} of ${action.response_id} by ${action.who}`
  const follow = 'follow it with: npx tokenwatch responses list'
  if (answer === undefined)
    return `${act} recorded, and not answered yet: a running \`tokenwatch start\` (role ${action.act === 'undo' ? 'respond' : 'alert'}) does that; ${follow}`
  return `${act}: ${answer.step}${reason === null ? '' : `, ${reason}`}${answer.step === 'approved' ? `; ${follow}` : ''}`
}

const decide = (act: 'approve' | 'deny' | 'undo', summary: string): Command =>
  command(act, summary)
    .argument('<id>', 'response id, or its first characters')
    .option('--why <text>', 'kept with the decision')
    .option('--who <name>', 'default: the user of this machine; must be in responses.people to approve')
    .action((id: string, options: GlobalOptions & { why?: string; who?: string }) =>
      withBus(options, async (bus, { clock }) => {
        const action = await decideResponse(bus, act, { id, who: person(options.who), why: options.why ?? null, now: clock.now() })
        const answer = await answerTo(bus, action, { clock, within_ms: ANSWER_MS })
        const reason = answer === undefined ? null : reasonOf(answer, action)
        print(options, { ...action, answer: answer === undefined ? null : { step: answer.step, reason } }, () => told(action, answer, reason))
        if (answer !== undefined && !DONE.has(answer.step)) process.exitCode = 1
      }),
    )
