-- Where nodes divide what is fetched among themselves, the greatest token of those who had the duty; tokens of who leads are others.
ALTER TABLE feed_holders ADD COLUMN fence bigint NOT NULL DEFAULT 0;
