/** Preloaded into a process under measurement: on SIGUSR2 it collects all garbage and says what is left. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

process.on('SIGUSR2', () => {
  setFlagsFromString('--expose-gc')
  const collect: unknown = runInNewContext('gc')
  if (typeof collect === 'function') collect()
  process.stderr.write(`live heap ${Math.round(process.memoryUsage().heapUsed / 1_048_576)} MB\n`)
})
