use tollgate_sdk_scheduler::{Policy, Scheduler, export_scheduler, plugin, scheduling};
struct F;
struct P;
impl Policy for P { fn restore(&mut self, _:u64,_:scheduling::Page){} fn step(&mut self,_:u64,_e:Vec<scheduling::Event>)->Vec<scheduling::Action>{vec![]} }
impl Scheduler for F { fn manifest()->plugin::Manifest{todo!()} fn configure(_:&str)->Result<Self,Vec<plugin::Problem>>{Ok(F)} fn policy(&self)->Box<dyn Policy>{Box::new(P)} }
export_scheduler!(F);
