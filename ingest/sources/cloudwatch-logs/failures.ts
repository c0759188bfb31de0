/** What AWS and the SDK throw → what the collector's loop reads: again soon (transient), or blind until somebody acts (permanent). */
import { messageOf, PermanentError, TransientError } from '../../../runtime/errors.ts'

/** Whom to name in the message. */
export interface Asked {
  /** The IAM action of the call. */
  action: string
  /** Log group, prefix or role. */
  resource: string
  region: string
  /** Who asks: the role, or the credentials of the default chain. */
  identity: string
  /** The request went on a page token. */
  token?: boolean
}

export class ThrottledError extends TransientError {}
/** An answer that is not of this API, although it says that all is well. */
export class NonsenseError extends Error {}
/** A page token lives a day and belongs to one query: the window has to be scanned from its start. */
export class TokenError extends TransientError {}

const THROTTLED = new Set(['ThrottlingException', 'Throttling', 'ThrottledException', 'TooManyRequestsException', 'RequestLimitExceeded', 'LimitExceededException', 'SlowDown'])
const DENIED = new Set(['AccessDeniedException', 'AccessDenied', 'UnauthorizedOperation', 'NotAuthorized', 'OptInRequired'])
const NO_CREDENTIALS = new Set(['CredentialsProviderError', 'TokenProviderError', 'ProviderError'])
const EXPIRED = new Set(['ExpiredToken', 'ExpiredTokenException', 'RequestExpired'])
const WRONG = new Set([
  'UnrecognizedClientException',
  'InvalidClientTokenId',
  'SignatureDoesNotMatch',
  'InvalidSignatureException',
  'IncompleteSignature',
  'MissingAuthenticationToken',
])

/** Never returns: throws a TransientError, a PermanentError, or the abort itself. */
export function translate(error: unknown, asked: Asked, signal: AbortSignal): never {
  if (signal.aborted) throw error
  if (error instanceof TransientError || error instanceof PermanentError) throw error
  const name = error instanceof Error ? error.name : ''
  const status = statusOf(error)
  const { action, resource, region, identity } = asked
  const options = { cause: error }
  if (THROTTLED.has(name) || status === 429) throw new ThrottledError(`CloudWatch in ${region} says that there are too many requests: slowing down`, options)
  if (DENIED.has(name)) throw new PermanentError(deniedMessage(error, asked), options)
  if (name === 'ResourceNotFoundException')
    throw new PermanentError(
      `there is no log group ${resource} in ${region} for ${identity}: create it, or correct the name, region or account under sources. It is read from where it was left as soon as it is there`,
      options,
    )
  if (NO_CREDENTIALS.has(name))
    throw new PermanentError(
      `no AWS credentials for ${region}: give them by environment (AWS_ACCESS_KEY_ID …), a profile (AWS_PROFILE), or the role of the machine (${messageOf(error)})`,
      options,
    )
  if (EXPIRED.has(name)) throw new PermanentError(`the AWS credentials (${identity}) have expired: renew them; they are looked up again by themselves`, options)
  if (WRONG.has(name))
    throw new PermanentError(`AWS in ${region} does not know these credentials (${identity}): check the access key, and that the region is enabled for the account`, options)
  if (name === 'InvalidParameterException' && asked.token === true)
    throw new TokenError(`a page token of ${resource} was refused: the window is scanned again`, { ...options, retry_after_ms: 0 })
  if (isNonsense(error, status))
    throw new PermanentError(
      `CloudWatch in ${region} answered nonsense to ${action} on ${resource}: check \`endpoint\`, and whether a proxy or a sign-in page stands in between`,
      options,
    )
  if (isUnreachable(error))
    throw new TransientError(`CloudWatch in ${region} cannot be reached (${messageOf(error)}): check the network, and that the region or endpoint is spelt right`, options)
  if (status !== undefined && status >= 400 && status < 500)
    throw new PermanentError(`CloudWatch refuses ${action} on ${resource} in ${region}: ${name}: ${messageOf(error)}`, options)
  throw new TransientError(`CloudWatch in ${region} failed on ${resource}: ${name === '' ? '' : `${name}: `}${messageOf(error)}`, options)
}

/** AWS names the action and the resource in its message, where it does not we know what we asked. */
function deniedMessage(error: unknown, { action, resource, region, identity }: Asked): string {
  const named = /not authorized to perform: ([a-zA-Z0-9-]+:[a-zA-Z]+)/.exec(messageOf(error))?.[1] ?? action
  if (named === 'sts:AssumeRole')
    return `${identity} may not be assumed: allow sts:AssumeRole on it for the credentials that Tokenwatch runs with, and check its trust policy (and external_id)`
  return `${identity} may not call ${named} on ${resource} in ${region}: allow ${named} in its IAM policy (docs/cloudwatch-logs.md has the whole of it)`
}

function statusOf(error: unknown): number | undefined {
  const metadata = (error as { $metadata?: { httpStatusCode?: unknown } } | null)?.$metadata
  return typeof metadata?.httpStatusCode === 'number' && metadata.httpStatusCode > 0 ? metadata.httpStatusCode : undefined
}

/** The SDK throws a SyntaxError where the body is no JSON; behind a 5xx that is a gateway in trouble, which passes. */
const isNonsense = (error: unknown, status: number | undefined): boolean => error instanceof NonsenseError || (error instanceof SyntaxError && (status ?? 0) < 500)

function isUnreachable(error: unknown): boolean {
  const { code, name } = error as { code?: unknown; name?: unknown }
  return (typeof code === 'string' && /^(E[A-Z]+|UND_ERR_)/.test(code)) || name === 'TimeoutError' || name === 'NetworkingError'
}
