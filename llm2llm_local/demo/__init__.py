"""The bundled demo data: route a tenant's short message to one of the seven queues of a housing cooperative.

A line of `train.jsonl` (49 rows), `dev.jsonl` (28) or `test.jsonl` (154) is {"question": message, "answer": label}, and
each label comes equally often. The rows were dealt at random, so seven seeds a label stand for a much wider test set, a
good part of which is indirect or names another queue's subject. The labels:

- `repairs`: something in the flat or the building is broken, leaks or fails: water, power, doors, lift, lights.
- `heating`: rooms too cold or too warm, radiators and their leaks, thermostats, the boiler, hot water.
- `rent`: money paid, owed, explained or paid back: rent, bills, service charges, deposits, refunds, receipts.
- `neighbours`: what others in the house do, and the house rules: noise, smells, things in the way, disputes, pets.
- `keys`: getting in, and who can: keys lost or found, chips, codes, intercoms, and locks, broken ones included.
- `moving`: who lives where and when: notice, contracts, moving in or out, handover, transfer, viewings, subletting.
- `other`: the rest: thanks, opening hours, assembly, clubs, parking, waste days, wrong numbers, nothing left to do.

When two queues come to mind, what the tenant needs done decides, not the words used: a refund for a broken lift is
`rent`, a letterbox lock that won't turn is `keys`, a door that hangs crooked is `repairs`, neighbours who prop a door
open are `neighbours`, handing keys back on the last day is `moving`, thanks for a warm radiator are `other`.

All of it was written for this project; none of it comes from another data set or from real messages.
"""
