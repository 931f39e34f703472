"""A coding agent's run in a dozen lines: steps, a stream, an outcome, and what it all did. Needs a gateway: `fw up`."""

from fwsdk import Client

with Client() as fw:  # FW_URL, FW_API_KEY; Client.embedded("fw.yaml") needs no server
    with fw.run("coding", budget="2 USD") as run:
        with run.step("plan"):
            plan = fw.chat("Why does a test that opens a file twice fail on Windows? One sentence.", max_tokens=60)
            print("plan:", plan.text)
        with run.step("edit"):
            print("edit: ", end="")
            for text in fw.stream(plan.then("Now write the patch, in three lines."), max_tokens=60):
                print(text, end="", flush=True)
        run.outcome(tests_pass=True)  # the line that makes quality real
    print("\n")
    print(run.explain())
    print("\ncost", run.cost)
