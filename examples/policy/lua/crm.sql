-- The tables that the scripts of this folder ask.

CREATE TABLE customer (
  name TEXT PRIMARY KEY,
  binding TEXT,
  hourly INTEGER
);

CREATE TABLE dkim (
  domain TEXT,
  selector TEXT,
  pem TEXT,
  PRIMARY KEY (domain, selector)
);
