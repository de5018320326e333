// Questions that are asked one by one and answered together.

/** The questions of one turn of the event loop, put into one call. */
export class Batch<Answer extends object | string> {
  readonly #ask: (questions: string[]) => Promise<(Answer | Error)[]>
  #waiting: {
    question: string
    resolve: (answer: Answer) => void
    reject: (error: unknown) => void
  }[] = []

  /** `ask` answers all of them in their order, each with an answer or an error of its own. */
  constructor(ask: (questions: string[]) => Promise<(Answer | Error)[]>) {
    this.#ask = ask
  }

  /** Rejects with the error that came in the answer's place. */
  of(question: string): Promise<Answer> {
    if (this.#waiting.length === 0) setImmediate(() => void this.#flush())
    return new Promise((resolve, reject) => {
      this.#waiting.push({ question, resolve, reject })
    })
  }

  async #flush(): Promise<void> {
    const asked = this.#waiting
    this.#waiting = []
    try {
      const answers = await this.#ask(asked.map(({ question }) => question))
      asked.forEach(({ resolve, reject }, index) => {
        const answer = answers[index] as Answer | Error
        if (answer instanceof Error) reject(answer)
        else resolve(answer)
      })
    } catch (error) {
      for (const { reject } of asked) reject(error)
    }
  }
}
