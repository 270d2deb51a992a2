BEGIN TRANSACTION;
CREATE TABLE ratings (
	id INTEGER NOT NULL, 
	slot_id VARCHAR(24) NOT NULL, 
	rater_id INTEGER NOT NULL, 
	"key" VARCHAR(80) NOT NULL, 
	action VARCHAR(16) NOT NULL, 
	verdict VARCHAR(16), 
	marks JSON NOT NULL, 
	reason TEXT NOT NULL, 
	shown_at FLOAT NOT NULL, 
	cast_at FLOAT NOT NULL, 
	is_rehearsal BOOLEAN NOT NULL, 
	supersedes INTEGER, 
	PRIMARY KEY (id), 
	UNIQUE (rater_id, "key"), 
	UNIQUE (supersedes), 
	FOREIGN KEY(slot_id) REFERENCES study_slots (id), 
	FOREIGN KEY(rater_id) REFERENCES study_raters (id), 
	FOREIGN KEY(supersedes) REFERENCES ratings (id)
);
INSERT INTO "ratings" VALUES(1,'Ejqj4T25QUzgCXYZ',1,'Ejqj4T25QUzgCXYZ','vote','right','{}','',1000005.0,1000006.0,0,NULL);
INSERT INTO "ratings" VALUES(2,'Ejqj4T25QUzgCXYZ',1,'undo','undo',NULL,'{}','',1000005.0,1000007.0,0,1);
INSERT INTO "ratings" VALUES(3,'Ejqj4T25QUzgCXYZ',1,'skip','skip',NULL,'{}','cannot read it',1000008.0,1000009.0,0,2);
INSERT INTO "ratings" VALUES(4,'plHam5ReWxSSTdmC',1,'plHam5ReWxSSTdmC','vote','right','{}','',1000010.0,1000011.0,0,NULL);
INSERT INTO "ratings" VALUES(5,'qyRm-tNq5nmXlXUH',1,'qyRm-tNq5nmXlXUH','vote','left','{}','',1000012.0,1000013.0,0,NULL);
INSERT INTO "ratings" VALUES(6,'CJctjcgG1OfwMuUX',1,'CJctjcgG1OfwMuUX','vote','left','{}','',1000014.0,1000015.0,0,NULL);
INSERT INTO "ratings" VALUES(7,'tYiYUlI-zQ4to4W4',1,'tYiYUlI-zQ4to4W4','vote','left','{}','',1000016.0,1000017.0,0,NULL);
INSERT INTO "ratings" VALUES(8,'PqQeNCskaH2RbXDS',2,'PqQeNCskaH2RbXDS','vote','right','{}','',1000018.0,1000019.0,0,NULL);
INSERT INTO "ratings" VALUES(9,'eA3pKmQTTRS2y4iM',2,'eA3pKmQTTRS2y4iM','vote','right','{}','',1000020.0,1000021.0,0,NULL);
INSERT INTO "ratings" VALUES(10,'xFYcVPxY9mm26Vj1',2,'xFYcVPxY9mm26Vj1','vote','left','{}','',1000022.0,1000023.0,0,NULL);
INSERT INTO "ratings" VALUES(11,'GfN9QrgTULLcgunA',2,'GfN9QrgTULLcgunA','vote','left','{}','',1000024.0,1000025.0,0,NULL);
INSERT INTO "ratings" VALUES(12,'v0OmXsAeLi-rW9mp',2,'v0OmXsAeLi-rW9mp','vote','left','{}','',1000026.0,1000027.0,0,NULL);
INSERT INTO "ratings" VALUES(13,'bN54OqnPqIq_9TmL',3,'bN54OqnPqIq_9TmL','vote','right','{}','',1000028.0,1000029.0,0,NULL);
INSERT INTO "ratings" VALUES(14,'XiGPRePtofUBTiEw',3,'XiGPRePtofUBTiEw','vote','left','{}','',1000030.0,1000031.0,0,NULL);
INSERT INTO "ratings" VALUES(15,'XpzH8Civr47frXSf',3,'XpzH8Civr47frXSf','vote','left','{}','',1000032.0,1000033.0,0,NULL);
INSERT INTO "ratings" VALUES(16,'1VFPsM4DXai3PGhz',3,'1VFPsM4DXai3PGhz','vote','right','{}','',1000034.0,1000035.0,0,NULL);
INSERT INTO "ratings" VALUES(17,'XdyX6ZNDzyvoR4dL',3,'XdyX6ZNDzyvoR4dL','vote','left','{}','',1000036.0,1000037.0,0,NULL);
INSERT INTO "ratings" VALUES(18,'HWXliGnnKx-h41UT',4,'HWXliGnnKx-h41UT','vote','left','{}','',1000039.0,1000040.0,1,NULL);
INSERT INTO "ratings" VALUES(19,'phj85cw2W3GK7Y-F',4,'phj85cw2W3GK7Y-F','vote','right','{}','',1000041.0,1000042.0,1,NULL);
INSERT INTO "ratings" VALUES(20,'xpWxSIjXDJcoc7Ot',4,'xpWxSIjXDJcoc7Ot','vote','left','{}','',1000043.0,1000044.0,1,NULL);
INSERT INTO "ratings" VALUES(21,'XrGHRHXn5kDlijV9',4,'XrGHRHXn5kDlijV9','vote','right','{}','',1000045.0,1000046.0,1,NULL);
CREATE TABLE screentest_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT screentest_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "screentest_version" VALUES('0003');
CREATE TABLE studies (
	id INTEGER NOT NULL, 
	name VARCHAR(80) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	split VARCHAR(16) NOT NULL, 
	question TEXT NOT NULL, 
	design JSON NOT NULL, 
	declaration VARCHAR(64) NOT NULL, 
	criteria JSON NOT NULL, 
	provenance JSON NOT NULL, 
	"plan" TEXT NOT NULL, 
	n_population INTEGER NOT NULL, 
	created_at FLOAT NOT NULL, 
	closed_at FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (name)
);
INSERT INTO "studies" VALUES(1,'first','pairwise','test','Which line belongs in the scene?','{"schema": 1, "name": "first", "question": "Which line belongs in the scene?", "kind": "pairwise", "source": {"run": "latest", "generations": {}, "pairs": null, "data": null, "corpus": null, "base": "embedded", "split": "test"}, "variants": [], "criteria": [], "panel": {"raters": 3, "overlap": null, "names": []}, "target": {"prompts": 4, "win_share": null, "power": 0.8, "tie_share": 0.0, "icc": 0.3}, "repeats": 0.25, "attention": 0, "practice": false, "block": 10, "lease_minutes": 15.0, "exclusion": {"min_attention": 0.75, "min_consistency": null, "min_seconds": null, "max_one_side": null, "min_checks": 2, "min_ratings": 10}, "epsilon": 0.15, "level": 0.95, "rehearsal": false, "seed": 7}','76c7bfa13516eeba99b47dc53cb406a3f1b89bac425b604659c9b65f9a34fd96','[]','{"source": "made up for a test"}','Enough for a test.',8,1000001.0,NULL);
CREATE TABLE study_items (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	purpose VARCHAR(16) NOT NULL, 
	prompt_id TEXT NOT NULL, 
	cluster TEXT NOT NULL, 
	scene JSON NOT NULL, 
	replies JSON NOT NULL, 
	probability FLOAT, 
	rank INTEGER NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(study_id) REFERENCES studies (id)
);
INSERT INTO "study_items" VALUES(1,1,'main','p0','film0','[{"role": "assistant", "content": "I was out.", "name": "ANN"}, {"role": "user", "content": "Where, p0?", "name": "BEN"}]','[{"variant": "base", "text": "base says 0", "draw": 0}, {"variant": "sft", "text": "sft says 0", "draw": 0}]',0.5,3);
INSERT INTO "study_items" VALUES(2,1,'main','p1','film1','[{"role": "assistant", "content": "I was out.", "name": "ANN"}, {"role": "user", "content": "Where, p1?", "name": "BEN"}]','[{"variant": "base", "text": "base says 1", "draw": 0}, {"variant": "sft", "text": "sft says 1", "draw": 0}]',0.5,2);
INSERT INTO "study_items" VALUES(3,1,'main','p2','film2','[{"role": "assistant", "content": "I was out.", "name": "ANN"}, {"role": "user", "content": "Where, p2?", "name": "BEN"}]','[{"variant": "base", "text": "base says 2", "draw": 0}, {"variant": "sft", "text": "sft says 2", "draw": 0}]',0.5,1);
INSERT INTO "study_items" VALUES(4,1,'main','p3','film3','[{"role": "assistant", "content": "I was out.", "name": "ANN"}, {"role": "user", "content": "Where, p3?", "name": "BEN"}]','[{"variant": "base", "text": "base says 3", "draw": 0}, {"variant": "sft", "text": "sft says 3", "draw": 0}]',0.5,0);
CREATE TABLE study_raters (
	id INTEGER NOT NULL, 
	study_id INTEGER NOT NULL, 
	name VARCHAR(80) NOT NULL, 
	token_hash VARCHAR(64) NOT NULL, 
	is_rehearsal BOOLEAN NOT NULL, 
	created_at FLOAT NOT NULL, 
	seen_at FLOAT, 
	revoked_at FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (study_id, name), 
	FOREIGN KEY(study_id) REFERENCES studies (id), 
	UNIQUE (token_hash)
);
INSERT INTO "study_raters" VALUES(1,1,'rater-1','ad7a34389fa1bf1bc6607fe4f5ba22b5b72e37f5d9f6f2393dfee7dce78467d3',0,1000002.0,1000017.0,NULL);
INSERT INTO "study_raters" VALUES(2,1,'rater-2','062292fe2317495b759d906d83f2fef5788c14d3d62abb0cb22149402e40f863',0,1000003.0,1000027.0,NULL);
INSERT INTO "study_raters" VALUES(3,1,'rater-3','9190dacfef46aa7d890e50b68865ecd48745ca159854ec6370da1e2fc9e29bf7',0,1000004.0,1000037.0,NULL);
INSERT INTO "study_raters" VALUES(4,1,'trial','50dde10e8d4fa96dba52cb43fe10cb65a6eb47e470d2e2219b29aadac0a5ff0a',1,1000038.0,1000046.0,NULL);
CREATE TABLE study_shows (
	id INTEGER NOT NULL, 
	slot_id VARCHAR(24) NOT NULL, 
	rater_id INTEGER NOT NULL, 
	is_flipped BOOLEAN NOT NULL, 
	shown_at FLOAT NOT NULL, 
	PRIMARY KEY (id), 
	FOREIGN KEY(slot_id) REFERENCES study_slots (id), 
	FOREIGN KEY(rater_id) REFERENCES study_raters (id)
);
INSERT INTO "study_shows" VALUES(1,'Ejqj4T25QUzgCXYZ',1,0,1000005.0);
INSERT INTO "study_shows" VALUES(2,'Ejqj4T25QUzgCXYZ',1,0,1000008.0);
INSERT INTO "study_shows" VALUES(3,'plHam5ReWxSSTdmC',1,0,1000010.0);
INSERT INTO "study_shows" VALUES(4,'qyRm-tNq5nmXlXUH',1,1,1000012.0);
INSERT INTO "study_shows" VALUES(5,'CJctjcgG1OfwMuUX',1,1,1000014.0);
INSERT INTO "study_shows" VALUES(6,'tYiYUlI-zQ4to4W4',1,1,1000016.0);
INSERT INTO "study_shows" VALUES(7,'PqQeNCskaH2RbXDS',2,0,1000018.0);
INSERT INTO "study_shows" VALUES(8,'eA3pKmQTTRS2y4iM',2,0,1000020.0);
INSERT INTO "study_shows" VALUES(9,'xFYcVPxY9mm26Vj1',2,1,1000022.0);
INSERT INTO "study_shows" VALUES(10,'GfN9QrgTULLcgunA',2,1,1000024.0);
INSERT INTO "study_shows" VALUES(11,'v0OmXsAeLi-rW9mp',2,1,1000026.0);
INSERT INTO "study_shows" VALUES(12,'bN54OqnPqIq_9TmL',3,0,1000028.0);
INSERT INTO "study_shows" VALUES(13,'XiGPRePtofUBTiEw',3,1,1000030.0);
INSERT INTO "study_shows" VALUES(14,'XpzH8Civr47frXSf',3,1,1000032.0);
INSERT INTO "study_shows" VALUES(15,'1VFPsM4DXai3PGhz',3,0,1000034.0);
INSERT INTO "study_shows" VALUES(16,'XdyX6ZNDzyvoR4dL',3,1,1000036.0);
INSERT INTO "study_shows" VALUES(17,'HWXliGnnKx-h41UT',4,0,1000039.0);
INSERT INTO "study_shows" VALUES(18,'phj85cw2W3GK7Y-F',4,1,1000041.0);
INSERT INTO "study_shows" VALUES(19,'xpWxSIjXDJcoc7Ot',4,0,1000043.0);
INSERT INTO "study_shows" VALUES(20,'XrGHRHXn5kDlijV9',4,1,1000045.0);
CREATE TABLE study_slots (
	id VARCHAR(24) NOT NULL, 
	study_id INTEGER NOT NULL, 
	item_id INTEGER NOT NULL, 
	rater_id INTEGER NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	position INTEGER NOT NULL, 
	is_flipped BOOLEAN NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	leased_until FLOAT, 
	PRIMARY KEY (id), 
	UNIQUE (rater_id, position), 
	FOREIGN KEY(study_id) REFERENCES studies (id), 
	FOREIGN KEY(item_id) REFERENCES study_items (id), 
	FOREIGN KEY(rater_id) REFERENCES study_raters (id)
);
INSERT INTO "study_slots" VALUES('1VFPsM4DXai3PGhz',1,1,3,'main',3,0,'rated',1000934.0);
INSERT INTO "study_slots" VALUES('CJctjcgG1OfwMuUX',1,1,1,'main',3,1,'rated',1000914.0);
INSERT INTO "study_slots" VALUES('Ejqj4T25QUzgCXYZ',1,3,1,'main',0,0,'skipped',1000908.0);
INSERT INTO "study_slots" VALUES('GfN9QrgTULLcgunA',1,1,2,'main',3,1,'rated',1000924.0);
INSERT INTO "study_slots" VALUES('PqQeNCskaH2RbXDS',1,3,2,'main',0,0,'rated',1000918.0);
INSERT INTO "study_slots" VALUES('XdyX6ZNDzyvoR4dL',1,4,3,'repeat',4,1,'rated',1000936.0);
INSERT INTO "study_slots" VALUES('XiGPRePtofUBTiEw',1,3,3,'main',1,1,'rated',1000930.0);
INSERT INTO "study_slots" VALUES('XpzH8Civr47frXSf',1,2,3,'main',2,1,'rated',1000932.0);
INSERT INTO "study_slots" VALUES('bN54OqnPqIq_9TmL',1,4,3,'main',0,0,'rated',1000928.0);
INSERT INTO "study_slots" VALUES('eA3pKmQTTRS2y4iM',1,2,2,'main',1,0,'rated',1000920.0);
INSERT INTO "study_slots" VALUES('plHam5ReWxSSTdmC',1,2,1,'main',1,0,'rated',1000910.0);
INSERT INTO "study_slots" VALUES('qyRm-tNq5nmXlXUH',1,4,1,'main',2,1,'rated',1000912.0);
INSERT INTO "study_slots" VALUES('tYiYUlI-zQ4to4W4',1,3,1,'repeat',4,1,'rated',1000916.0);
INSERT INTO "study_slots" VALUES('v0OmXsAeLi-rW9mp',1,2,2,'repeat',4,1,'rated',1000926.0);
INSERT INTO "study_slots" VALUES('xFYcVPxY9mm26Vj1',1,4,2,'main',2,1,'rated',1000922.0);
INSERT INTO "study_slots" VALUES('HWXliGnnKx-h41UT',1,1,4,'main',0,0,'rated',1000939.0);
INSERT INTO "study_slots" VALUES('XrGHRHXn5kDlijV9',1,3,4,'main',3,1,'rated',1000945.0);
INSERT INTO "study_slots" VALUES('phj85cw2W3GK7Y-F',1,2,4,'main',1,1,'rated',1000941.0);
INSERT INTO "study_slots" VALUES('qfVDQcFDJhR_iRY4',1,2,4,'repeat',4,0,'pending',NULL);
INSERT INTO "study_slots" VALUES('xpWxSIjXDJcoc7Ot',1,4,4,'main',2,0,'rated',1000943.0);
CREATE INDEX ix_study_items_study_id ON study_items (study_id);
CREATE INDEX ix_study_slots_item_id ON study_slots (item_id);
CREATE INDEX ix_study_slots_study_id ON study_slots (study_id);
CREATE INDEX ix_study_shows_slot_id ON study_shows (slot_id);
CREATE INDEX ix_ratings_slot_id ON ratings (slot_id);
CREATE UNIQUE INDEX ix_ratings_first_of_slot ON ratings (slot_id) WHERE supersedes IS NULL;
CREATE TRIGGER ratings_no_update BEFORE UPDATE ON ratings BEGIN SELECT RAISE(ABORT, 'ratings is append-only'); END;
CREATE TRIGGER ratings_no_delete BEFORE DELETE ON ratings BEGIN SELECT RAISE(ABORT, 'ratings is append-only'); END;
CREATE TRIGGER study_shows_no_update BEFORE UPDATE ON study_shows BEGIN SELECT RAISE(ABORT, 'study_shows is append-only'); END;
CREATE TRIGGER study_shows_no_delete BEFORE DELETE ON study_shows BEGIN SELECT RAISE(ABORT, 'study_shows is append-only'); END;
COMMIT;
