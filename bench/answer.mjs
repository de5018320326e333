// In a program that a `Host` of programs.mjs has started: answers each `ask()` by the operation of that name, and ends with
// the bench. It imports nothing, since the memory of these programs is measured.

export function answer(operations, end = () => process.exit(0)) {
  process.on('disconnect', end)
  // Messages that came before wait in the channel until there is a listener.
  process.on('message', ({ op, ...rest }) => {
    operations[op](rest).then(
      (value) => process.send({ value: value ?? null }),
      (error) => process.send({ error: error.stack }),
    )
  })
}
