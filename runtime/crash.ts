/**
 * Named crash points: the gaps between two durable steps. A test sets TOKENWATCH_CRASH_AT=<name>[:<n>] and the process
 * kills itself (SIGKILL, no clean-up) at the n-th pass (default 1). Without the variable a call costs one comparison.
 */
const [wanted = '', nth = '1'] = (process.env['TOKENWATCH_CRASH_AT'] ?? '').split(':')
let passes = 0

export const crashPoints = [
  'collector.before-publish',
  'collector.after-publish',
  'collector.after-checkpoint',
  'join.before-publish',
  'join.after-publish',
  'join.after-save',
  'writer.before-insert',
  'writer.after-insert',
  'rollup.after-stage',
  'rollup.after-replace',
  'runner.after-fold',
  'runner.after-findings',
  'runner.after-snapshot',
  'alert.after-transition',
  'alert.before-send',
  'alert.after-send',
  'alert.after-delivery',
] as const
export type CrashPoint = (typeof crashPoints)[number]

export function crashPoint(name: CrashPoint): void {
  if (wanted !== name) return
  passes += 1
  if (passes >= Number(nth)) process.kill(process.pid, 'SIGKILL')
}
