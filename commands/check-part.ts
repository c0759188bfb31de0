/** One line of `check`. */
import { messageOf } from '../runtime/errors.ts'

export interface Check {
  part: string
  ok: boolean
  detail: string
}

/** What the work says of itself, or why it does not work. */
export async function attempt(part: string, work: () => string | Promise<string>): Promise<Check> {
  try {
    return { part, ok: true, detail: await work() }
  } catch (error) {
    return { part, ok: false, detail: messageOf(error) }
  }
}
