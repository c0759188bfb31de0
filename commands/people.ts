import { userInfo } from 'node:os'

/** Who acts: the name given, else the user of this machine. Approvals check it against responses.people. */
export function person(given: string | undefined): string {
  if (given !== undefined && given !== '') return given
  try {
    return userInfo().username
  } catch {
    return 'unknown'
  }
}
