// Says which tests failed and then passed when they were repeated: such a test is a defect, though not one that stops CI.
import type { Reporter, TestCase } from 'vitest/node' with { 'resolution-mode': 'import' }

export default class FlakyReporter implements Reporter {
  private readonly flaky: string[] = []

  onTestCaseResult(test: TestCase): void {
    if (test.diagnostic()?.flaky !== true) return
    const errors = (test.result().errors ?? []).map((error) => `    ${error.stack ?? error.message}\n`)
    this.flaky.push(`  ${test.module.relativeModuleId} > ${test.fullName}\n${errors.join('')}`)
  }

  onTestRunEnd(): void {
    if (this.flaky.length === 0) return
    process.stdout.write(`FLAKY: failed, and passed when repeated: ${this.flaky.length}\n`)
    for (const test of this.flaky) process.stdout.write(test)
  }
}
