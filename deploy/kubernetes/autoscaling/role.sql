-- Who may count jobs, and nothing else: the user of the Secret `gleaner-autoscaling`. Give it a password and CONNECT.
CREATE ROLE gleaner_autoscaling LOGIN;
GRANT SELECT (queue, state) ON jobs TO gleaner_autoscaling;
