"""The binding of a customer comes from a database, and so does the key that signs for a domain.

    [[data_source]]
    name = "crm"
    url = "postgresql://outrider@db.example/crm"

with the tables

    customer (id, binding)
    signing (domain, selector, private_key)

The customer is what the application says in `X-Outrider-Context: customer=42`, or its login. Rows are kept
for a minute (`data_source.cache`), so a busy customer costs no question. While the database is down, mail is
answered with 451 and comes again.
"""

from outrider.policy.api import SignRequest, keep_key, source

BINDING = "SELECT binding FROM customer WHERE id = ?"
KEY = "SELECT selector, private_key FROM signing WHERE domain = ?"


async def set_binding(mail):
    customer = mail.context.get("customer") or mail.connection.user
    for row in await source("crm").fetch(BINDING, (customer,)):
        mail.binding = row["binding"]


async def final_validation(mail):
    authors = mail.message.header.addresses("From").addresses
    domain = authors[0].domain if authors else ""
    for row in await source("crm").fetch(KEY, (domain,)):
        mail.sign(SignRequest(domain, row["selector"], keep_key(row["private_key"])))
